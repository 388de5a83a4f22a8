"""Tests of pipeline/flow."""
