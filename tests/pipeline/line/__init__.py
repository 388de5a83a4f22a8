"""Tests of pipeline/line."""
