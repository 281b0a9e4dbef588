"""Tests of asciid.engines."""
