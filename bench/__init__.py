"""Drives the line from outside: the demonstration, and what measures it."""
