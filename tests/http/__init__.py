"""Tests of asciid.http."""
