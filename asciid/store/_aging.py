"""How old things are, by a clock that no change of the system's time moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FOR_EVER", "GONE_FOR", "STAGED_FOR", "Aging", "Lifetimes"]

GONE_FOR = 24 * 60 * 60.0
"""Seconds for which an image that was past its time is remembered as gone."""

STAGED_FOR = 60 * 60.0
"""
Seconds after which an image that was coming in one request, and saw no byte
since, is taken for the remains of a process that was killed.
"""


@frozen
class Lifetimes:
    """How long things are kept, in seconds; 0 is for ever."""

    upload: float = 0.0
    """A pending upload, from its last activity."""
    image: float = 0.0
    """An image, from when it became complete."""


FOR_EVER = Lifetimes()
"""Nothing is ever past its time."""


@frozen
class Aging:
    """
    Tells stamps, and which stamps are past their time.

    A stamp is in seconds.  Stamps of one process run with `monotonic`, from
    what `clock` showed when the process started: while the process runs,
    nothing ages by more than the time that went by, however the system's time
    is set.  Stamps of different processes are off by what it was set meanwhile.
    """

    lifetimes: Lifetimes
    clock: Callable[[], float]
    """Tells the time in seconds since the epoch."""
    monotonic: Callable[[], float]
    _start: float = field(init=False)

    @_start.default
    def _(self) -> float:
        return self.clock() - self.monotonic()

    def stamp(self) -> float:
        """Return the stamp of this moment."""
        return self._start + self.monotonic()

    def uploads_before(self) -> float:
        """Return the stamp from which on pending uploads are kept."""
        return self._before(self.lifetimes.upload)

    def images_before(self) -> float:
        """Return the stamp from which on images are kept."""
        return self._before(self.lifetimes.image)

    def upload_expires(self, stamp: float) -> float | None:
        """
        Return when a pending upload last active at `stamp` is past its time.

        In seconds since the epoch; None is never.
        """
        if not self.lifetimes.upload:
            return None
        # Rounded, so that the answer does not quiver.
        return stamp + self.lifetimes.upload + round(self.clock() - self.stamp())

    def _before(self, lifetime: float) -> float:
        return self.stamp() - lifetime if lifetime else 0.0
