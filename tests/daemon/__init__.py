"""Tests of asciid.daemon."""
