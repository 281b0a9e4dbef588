"""Keeps reading to a rate."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pace"]

SHORTEST_WAIT = 0.05
"""Seconds that are worth a wait; less adds up until it is."""


@define
class Pace:
    """
    Waits so that no more than `rate` bytes go by in a second; 0 never waits.

    `monotonic` and `sleep` are in seconds.
    """

    rate: int
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _due: float = field(init=False, default=0.0)

    def __call__(self, size: int) -> None:
        """Take note of `size` bytes, and wait if they came early."""
        if not self.rate:
            return
        now = self.monotonic()
        # Time that was not used is lost, or a burst would follow it.
        self._due = max(self._due, now) + size / self.rate
        if self._due - now >= SHORTEST_WAIT:
            self.sleep(self._due - now)
