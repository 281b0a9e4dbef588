"""Logs completed and deleted images, rate-limited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field
from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from asciid.model import ImageSpec

__all__ = ["INTERVAL", "ONE_BY_ONE", "ImageLog"]

INTERVAL = 10.0
"""Seconds between summaries."""

ONE_BY_ONE = 20
"""Images logged individually in that time; of further ones the number is logged."""

_log = Logger()


@define
class _Count:
    """The images with one kind of event in an interval."""

    named: int = 0
    others: int = 0
    other_bytes: int = 0
    """The total size of those not logged individually, if known."""


@define
class ImageLog:
    """
    Logs the first `ONE_BY_ONE` images of every `INTERVAL`, and counts the others.

    A line for each image costs a third of a request, and log collectors drop lines
    under load.  `clock` times the intervals while there is something to count.
    """

    clock: IReactorTime
    _completed: _Count = field(init=False, factory=_Count)
    _deleted: _Count = field(init=False, factory=_Count)
    _counting: bool = field(init=False, default=False)

    def completed(self, spec: ImageSpec) -> None:
        """Count an image that became complete."""
        self._begin()
        if self._is_named(self._completed):
            _log.info(
                "image {sha256} is complete, {size} bytes",
                sha256=spec.sha256,
                size=spec.size,
            )
        else:
            self._completed.other_bytes += spec.size

    def deleted(self, sha256: str) -> None:
        """Count an image, or a pending upload, that a request deleted."""
        self._begin()
        if self._is_named(self._deleted):
            _log.info("deleted {sha256} on request", sha256=sha256)

    def summarise(self) -> None:
        """Log the number of images that were not logged individually."""
        completed, deleted = self._completed, self._deleted
        self._completed, self._deleted = _Count(), _Count()
        if completed.others:
            _log.info(
                "{count} more images became complete within {seconds:.0f} s, "
                "{bytes} bytes",
                count=completed.others,
                bytes=completed.other_bytes,
                seconds=INTERVAL,
            )
        if deleted.others:
            _log.info(
                "{count} more images or uploads were deleted within {seconds:.0f} s",
                count=deleted.others,
                seconds=INTERVAL,
            )

    def _begin(self) -> None:
        if not self._counting:
            self._counting = True
            self.clock.callLater(INTERVAL, self._end)

    def _end(self) -> None:
        self._counting = False
        self.summarise()

    def _is_named(self, count: _Count) -> bool:
        if count.named < ONE_BY_ONE:
            count.named += 1
            return True
        count.others += 1
        return False
