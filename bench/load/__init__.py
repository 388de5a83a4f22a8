"""Generates load."""
