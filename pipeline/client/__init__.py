"""Clients of a line, which receive verdicts, give orders and send frames."""
