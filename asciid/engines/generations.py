"""Counters that show a process whether its cache is still valid."""

from __future__ import annotations

import mmap
import os

__all__ = ["Generations"]

_WORD = 8
_WORDS = 2


class Generations:
    """
    Two counters in memory that all processes of a daemon share.

    The process that commits counts before it acknowledges anything, and another that
    reads the counter finds, without a message, that it must catch up:
    also one that was stopped, or whose messages were lost with the process that wrote
    them.

    `descriptor` is a file as `create_shared` makes it, which stays the caller's; None
    is memory of this process alone.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        size = _WORD * _WORDS
        self._words = memoryview(
            mmap.mmap(-1 if descriptor is None else descriptor, size)
        ).cast("Q")

    @staticmethod
    def create_shared() -> int:
        """Return the descriptor of a file in memory with both counters at zero."""
        descriptor = os.memfd_create("asciid-generations")
        os.ftruncate(descriptor, _WORD * _WORDS)
        return descriptor

    @property
    def removals(self) -> int:
        """How often images were removed, as far as that was committed."""
        return self._words[0]

    @property
    def files(self) -> int:
        """How often another file took the place of the storage file."""
        return self._words[1]

    def count_removal(self) -> int:
        """Count that images were removed; return the new count."""
        self._words[0] += 1
        return self._words[0]

    def count_file(self) -> None:
        """Count that another file has taken the place of the storage file."""
        self._words[1] += 1
