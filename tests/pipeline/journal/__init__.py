"""Tests of pipeline/journal."""
