"""Tests of asciid.web."""
