"""Rate-limits reads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pace"]

SHORTEST_WAIT = 0.05
"""Minimum seconds of one sleep; shorter waits add up until then."""


@define
class Pace:
    """
    Sleeps to limit the rate to `rate` bytes per second; 0: unlimited.

    `monotonic` and `sleep` are in seconds.
    """

    rate: int
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _due: float = field(init=False, default=0.0)

    def __call__(self, size: int) -> None:
        """Count `size` bytes, and sleep if they exceed the rate."""
        if not self.rate:
            return
        now = self.monotonic()
        # Unused time is not credited: no bursts.
        self._due = max(self._due, now) + size / self.rate
        if self._due - now >= SHORTEST_WAIT:
            self.sleep(self._due - now)
