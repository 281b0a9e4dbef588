"""Tests of `asciid.logs`."""
