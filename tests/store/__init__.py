"""Tests of asciid.store."""
