"""Tests of asciid.runtime."""
