"""Tests of asciid.net."""
