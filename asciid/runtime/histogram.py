"""A histogram that costs next to nothing to add to."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Histogram"]


class Histogram:
    """
    How often values fell between bounds, and their sum.

    `bounds` ascend; a value that equals one of them counts below it.  There is
    a last bucket for values above all bounds.  One thread adds; others may
    read meanwhile.
    """

    __slots__ = ("bounds", "buckets", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.total += value

    def merge(self, other: Histogram) -> None:
        """Count all values of another one with the same bounds."""
        for index, count in enumerate(other.buckets):
            self.buckets[index] += count
        self.total += other.total

    @property
    def count(self) -> int:
        """How many values were counted."""
        return sum(self.buckets)
