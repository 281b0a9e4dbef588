"""Tells the log what is refused, without a line for each request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

__all__ = ["INTERVAL", "RefusalLog"]

INTERVAL = 60.0
"""Seconds between two lines on the same reason."""

_log = Logger()


class RefusalLog:
    """
    Logs the first refusal of each kind at once, and how many follow each minute.

    A kind of which none came for a minute begins anew.  `clock` runs the minutes,
    as long as there is something to tell.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._counts: dict[str, int] = {}
        """What is not told yet, of each kind that was told of."""

    def note(self, reason: str) -> None:
        """Take note of a refusal; `reason` is one of a few words of ours."""
        count = self._counts.get(reason)
        if count is not None:
            self._counts[reason] = count + 1
            return
        if not self._counts:
            self._clock.callLater(INTERVAL, self._next_minute)
        self._counts[reason] = 0
        _log.info("A request was refused: {reason}", reason=reason)

    def _next_minute(self) -> None:
        self.tell()
        if self._counts:
            self._clock.callLater(INTERVAL, self._next_minute)

    def tell(self) -> None:
        """Log what was not told yet."""
        counts = {reason: count for reason, count in self._counts.items() if count}
        for reason, count in counts.items():
            _log.info(
                "{count} more requests were refused within a minute: {reason}",
                count=count,
                reason=reason,
            )
        self._counts = dict.fromkeys(counts, 0)
