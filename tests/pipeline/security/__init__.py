"""Tests of pipeline/security."""
