"""How long things are kept."""

from __future__ import annotations

from attrs import frozen

__all__ = ["FOR_EVER", "GONE_FOR", "STAGED_FOR", "Lifetimes"]

GONE_FOR = 24 * 60 * 60.0
"""Seconds for which requests for an expired image fail with `ImageGoneError`."""

STAGED_FOR = 60 * 60.0
"""
Seconds without a byte after which an image that is received in one request is
considered abandoned by a process that was killed.
"""


@frozen
class Lifetimes:
    """How long things are kept, in seconds; 0 is for ever."""

    upload: float = 0.0
    """A pending upload, from its last activity."""
    image: float = 0.0
    """An image, from its completion."""


FOR_EVER = Lifetimes()
"""Nothing ever expires."""
