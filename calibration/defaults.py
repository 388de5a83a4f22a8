"""Defaults that the command line shows; importing them loads nothing else."""

from __future__ import annotations

DEFAULT_SPLIT = 0.8
