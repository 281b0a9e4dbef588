"""Stamps: times that no change of the system's clock moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Stamps"]


@frozen
class Stamps:
    """
    Makes stamps, in seconds.

    Stamps of one process run with `monotonic`, from the time of `clock` when the
    process started: while the process runs, nothing ages by more than the time that
    passed, however the system's clock is set.  Stamps of different processes differ by
    its changes between their starts.
    """

    clock: Callable[[], float]
    """Returns the time in seconds since the epoch."""
    monotonic: Callable[[], float]
    """Returns seconds since any moment."""
    _start: float = field(init=False)

    @_start.default
    def _(self) -> float:
        return self.clock() - self.monotonic()

    def now(self) -> float:
        """Return the stamp of this moment."""
        return self._start + self.monotonic()

    def expiry(self, stamp: float, lifetime: float) -> float | None:
        """
        Return when something last active at `stamp` expires, `lifetime` seconds later.

        In seconds since the epoch; None is never, for a lifetime of 0.
        """
        if not lifetime:
            return None
        # Rounded, so that the answer is stable.
        return stamp + lifetime + round(self.clock() - self.now())
