"""Measures engines and whole lines from outside."""
