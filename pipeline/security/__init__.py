"""CURVE and keys."""
