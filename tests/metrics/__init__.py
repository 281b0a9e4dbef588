"""Tests of `asciid.metrics`."""
