"""Tests of asciid.api."""
