"""Many lines: their status side by side, and orders to all of them."""
