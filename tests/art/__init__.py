"""Tests of asciid.art."""
