"""How often each operation of a simulation went well or wrong, and how fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field, frozen

from asciid.runtime.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Figures", "Tally"]

_RESOLUTION = 1.02  # each bound is so many times the one below: 2 % is exact enough
_SHORTEST = 1e-5  # seconds
_BOUNDS = tuple(_SHORTEST * _RESOLUTION**power for power in range(800))  # to 74 s


@frozen
class Figures:
    """What became of one operation."""

    operation: str
    """Its name."""
    ok: int
    """How often it went as it should."""
    errors: int
    """How often it did not."""
    p50: float | None
    """
    Seconds that half of the answers took at most, to 2 %.

    None if the operation has no answers, or none yet; the others likewise.
    """
    p99: float | None
    """Seconds that 99 of 100 answers took at most, to 2 %."""
    slowest: float | None
    """Seconds the slowest answer took."""


@define
class _Operation:
    ok: int = 0
    errors: int = 0
    slowest: float = 0.0
    times: Histogram = field(factory=lambda: Histogram(_BOUNDS))

    def quantile(self, share: float) -> float | None:
        """Return the least bound that `share` of the times are below."""
        count = self.times.count
        if not count:
            return None
        below = 0
        for bound, times in zip(_BOUNDS, self.times.buckets, strict=False):
            below += times
            if below >= share * count:
                return min(bound, self.slowest)
        return self.slowest


class Tally:
    """
    Counts operations by their names, in a memory that does not grow with them.

    `figures` are in the order in which the operations first happened.
    """

    def __init__(self) -> None:
        self._operations: dict[str, _Operation] = {}

    def passed(self, operation: str, seconds: float | None = None) -> None:
        """Count one that went well; `seconds` until its answer, if it has one."""
        known = self._known(operation)
        known.ok += 1
        if seconds is not None:
            known.times.add(seconds)
            known.slowest = max(known.slowest, seconds)

    def failed(self, operation: str) -> None:
        """Count one that went wrong."""
        self._known(operation).errors += 1

    def _known(self, operation: str) -> _Operation:
        known = self._operations.get(operation)
        if known is None:
            known = self._operations[operation] = _Operation()
        return known

    @property
    def figures(self) -> Iterator[Figures]:
        """What became of each operation so far."""
        for name, operation in self._operations.items():
            yield Figures(
                operation=name,
                ok=operation.ok,
                errors=operation.errors,
                p50=operation.quantile(0.5),
                p99=operation.quantile(0.99),
                slowest=operation.slowest if operation.times.count else None,
            )
