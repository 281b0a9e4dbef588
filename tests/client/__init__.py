"""Tests of asciid.client."""
