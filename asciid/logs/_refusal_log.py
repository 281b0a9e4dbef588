"""Logs refused requests, rate-limited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

__all__ = ["INTERVAL", "RefusalLog"]

INTERVAL = 60.0
"""Seconds between lines with the same reason."""

_log = Logger()


class RefusalLog:
    """
    Logs the first refusal of each kind at once, then their number each minute.

    After a minute without refusals a kind starts again.  `clock` times the minutes
    while there is something to log.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._counts: dict[str, int] = {}
        """Refusals not logged yet, of each kind that was logged."""

    def note(self, reason: str) -> None:
        """Count a refusal; `reason` is from a small fixed set."""
        count = self._counts.get(reason)
        if count is not None:
            self._counts[reason] = count + 1
            return
        if not self._counts:
            self._clock.callLater(INTERVAL, self._next_minute)
        self._counts[reason] = 0
        _log.info("request refused: {reason}", reason=reason)

    def _next_minute(self) -> None:
        self.summarise()
        if self._counts:
            self._clock.callLater(INTERVAL, self._next_minute)

    def summarise(self) -> None:
        """Log the refusals not logged yet."""
        counts = {reason: count for reason, count in self._counts.items() if count}
        for reason, count in counts.items():
            _log.info(
                "{count} more requests refused within a minute: {reason}",
                count=count,
                reason=reason,
            )
        self._counts = dict.fromkeys(counts, 0)
