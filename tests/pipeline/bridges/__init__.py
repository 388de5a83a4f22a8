"""Tests of pipeline/bridges."""
