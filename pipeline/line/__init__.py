"""The stages of a running line."""
