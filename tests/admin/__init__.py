"""Tests of asciid.admin."""
