"""What a line offers on its sockets: verdicts, replay, orders, health."""
