"""Tells the log of images that became complete."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime
    from twisted.logger import LogEvent

    from asciid.model import ImageSpec

__all__ = ["DELAY", "CompletionLog"]

DELAY = 0.1
"""Seconds for which images are gathered."""

_log = Logger()


class CompletionLog:
    """
    Logs a line for each image, those of a moment together.

    An event of its own for each would take as long as a third of a request.
    `clock` runs timers, `wall_clock` tells seconds since the epoch.
    """

    def __init__(
        self, clock: IReactorTime, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._images: list[tuple[float, ImageSpec]] = []

    def note(self, spec: ImageSpec) -> None:
        """Take note of an image that can be downloaded from now on."""
        if not self._images:
            self._clock.callLater(DELAY, self.tell)
        self._images.append((self._wall_clock(), spec))

    def tell(self) -> None:
        """Log what was not told yet."""
        images, self._images = self._images, []
        if not images:
            return
        each: list[LogEvent] = [
            {
                "log_time": moment,
                "log_format": "Image {sha256} is complete, {size} bytes",
                "sha256": spec.sha256,
                "size": spec.size,
            }
            for moment, spec in images
        ]
        _log.info("{lines}", lines=_Lines(each), log_each=each)


class _Lines:
    """What the events say, for an observer that does not know ``log_each``."""

    def __init__(self, events: list[LogEvent]) -> None:
        self._events = events

    def __str__(self) -> str:
        return "\n".join(
            event["log_format"].format_map(event) for event in self._events
        )
