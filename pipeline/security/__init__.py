"""CURVE encryption and keys."""
