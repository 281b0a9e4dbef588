"""Tests of asciid.simulate."""
