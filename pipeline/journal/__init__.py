"""The journal: every verdict is written before it is published."""
