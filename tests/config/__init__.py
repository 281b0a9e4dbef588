"""Tests of asciid.config."""
