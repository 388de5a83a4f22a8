"""Tests of pipeline/protocol."""
