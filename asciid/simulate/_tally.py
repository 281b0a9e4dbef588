"""Counts and times the operations of a simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field, frozen

from asciid.runtime.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OperationResults", "Tally"]

_RESOLUTION = 1.02  # ratio of bounds: an error of 2 % is acceptable
_SHORTEST = 1e-5  # seconds
_BOUNDS = tuple(_SHORTEST * _RESOLUTION**power for power in range(800))  # to 74 s


@frozen
class OperationResults:
    """The results of one operation."""

    operation: str
    """The name of the operation."""
    ok: int
    """Number of successes."""
    errors: int
    """Number of failures."""
    p50: float | None
    """
    Median response time in seconds, to 2 %.

    None if the operation has no responses, as for the next two.
    """
    p99: float | None
    """99th percentile of the response time in seconds, to 2 %."""
    slowest: float | None
    """Maximum response time in seconds."""


@define
class _Operation:
    ok: int = 0
    errors: int = 0
    slowest: float = 0.0
    times: Histogram = field(factory=lambda: Histogram(_BOUNDS))

    def quantile(self, share: float) -> float | None:
        """Return the smallest bound that is above `share` of the times."""
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
    Counts operations by name, in constant memory.

    `results` are in the order of their first occurrence.
    """

    def __init__(self) -> None:
        self._operations: dict[str, _Operation] = {}

    def passed(self, operation: str, seconds: float | None = None) -> None:
        """Count a success, with its response time in `seconds` if there is one."""
        known = self._known(operation)
        known.ok += 1
        if seconds is not None:
            known.times.add(seconds)
            known.slowest = max(known.slowest, seconds)

    def failed(self, operation: str) -> None:
        """Count a failure."""
        self._known(operation).errors += 1

    def _known(self, operation: str) -> _Operation:
        known = self._operations.get(operation)
        if known is None:
            known = self._operations[operation] = _Operation()
        return known

    @property
    def results(self) -> Iterator[OperationResults]:
        """The results of each operation so far."""
        for name, operation in self._operations.items():
            yield OperationResults(
                operation=name,
                ok=operation.ok,
                errors=operation.errors,
                p50=operation.quantile(0.5),
                p99=operation.quantile(0.99),
                slowest=operation.slowest if operation.times.count else None,
            )
