"""Lets other processes go first."""

from __future__ import annotations

import os
from contextlib import suppress

__all__ = ["NICENESS", "lower_priority"]

NICENESS = 10
"""By how much the niceness of a process in the background is higher; see nice(2)."""


def lower_priority() -> None:
    """Raise the niceness of this process, unless the system forbids that."""
    # systemd's SystemCallFilter=~@resources does.
    with suppress(OSError):
        os.nice(NICENESS)
