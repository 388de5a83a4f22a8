"""Taktline: real-time visual inspection for production lines."""
