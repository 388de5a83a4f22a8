"""Tests of pipeline/fleet."""
