"""Bring verdicts to other systems."""
