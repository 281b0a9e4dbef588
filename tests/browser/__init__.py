"""Tests of the pages in a real browser; see CONTRIBUTING.md."""
