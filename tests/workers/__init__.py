"""Tests of asciid.workers."""
