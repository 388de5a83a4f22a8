"""A line's servers: verdicts, replay, orders and health."""
