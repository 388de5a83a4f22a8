"""Bridges: verdicts brought to other systems."""
