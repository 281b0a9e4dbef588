"""Tests of asciid.cli."""
