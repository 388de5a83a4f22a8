"""Tests of the delivery."""
