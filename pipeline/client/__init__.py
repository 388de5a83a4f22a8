"""Clients of a line: they receive verdicts, give orders and send frames."""
