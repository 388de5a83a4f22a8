"""Verdicts on their way out, and in again on the other side."""
