"""The line file and its tables."""
