"""How many processes have ended that were not told to, as the parent counts them."""

from __future__ import annotations

import os

__all__ = ["Deaths", "deaths_told"]

_BYTES = 8


class Deaths:
    """
    Counts, and tells another process that inherits `descriptor`.

    That is a file in memory: so the process that writes has nothing to be told, and
    one that takes its place, perhaps because it died itself, knows what came before.
    """

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("asciid-deaths")
        self._count = 0

    def add(self) -> None:
        """Count one more."""
        self._count += 1
        os.pwrite(self.descriptor, self._count.to_bytes(_BYTES), 0)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)


def deaths_told(descriptor: int) -> int:
    """Return what a `Deaths` with that descriptor, here or elsewhere, has counted."""
    return int.from_bytes(os.pread(descriptor, _BYTES, 0))
