"""Tests of pipeline/dashboard."""
