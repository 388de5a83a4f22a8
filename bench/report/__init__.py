"""Statistics, stored results and reports."""
