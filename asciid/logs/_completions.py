"""Tells the log of images that became complete."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from twisted.logger import Logger

from asciid.logs._format import Lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime
    from twisted.logger import LogEvent

    from asciid.model import ImageSpec

__all__ = ["DELAY", "MOST", "CompletionLog"]

DELAY = 0.1
"""Seconds for which images are gathered."""

MOST = 200
"""Images that are gathered at the most."""

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
        if len(self._images) == MOST:
            self.tell()

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
        _log.info("{lines}", lines=Lines(each), log_each=each)
