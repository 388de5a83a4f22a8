"""Bridges that deliver verdicts to other systems."""
