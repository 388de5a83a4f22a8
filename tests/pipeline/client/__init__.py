"""Tests of pipeline/client."""
