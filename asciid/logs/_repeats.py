"""Keeps the same trouble from filling the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.logger import LogLevel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.logger import LogEvent

__all__ = ["ALLOWED", "WINDOW", "Repeats"]

WINDOW = 60.0
"""Seconds for which events of one kind are counted together."""

ALLOWED = 5
"""Events of one kind that are logged in that time."""

_LIMITED = frozenset({LogLevel.warn, LogLevel.error, LogLevel.critical})


@define
class _Window:
    """Events of one kind and level, the first of which came at `start`."""

    start: float
    level: Any
    """A constant of `LogLevel`."""
    count: int = 0


@define
class Repeats:
    """
    Says which warnings and errors have been logged often enough.

    Those are of one kind that were logged in the same words and, if they report
    an exception, one of the same class.  Time is that of the events.
    """

    _windows: dict[tuple[Any, ...], _Window] = field(init=False, factory=dict)
    _left_out: int = field(init=False, default=0)
    """Windows of which something was left out."""

    def admit(self, event: LogEvent) -> bool:
        """Tell whether `event` is to be logged."""
        level = event.get("log_level")
        if level not in _LIMITED:
            return True
        failure = event.get("log_failure")
        kind = (
            event.get("log_namespace"),
            event.get("log_format"),
            None if failure is None else failure.type,
        )
        now = event.get("log_time", 0.0)
        window = self._windows.get(kind)
        if window is None or _is_over(window, now):
            window = self._windows[kind] = _Window(now, level)
        window.count += 1
        self._left_out += window.count == ALLOWED + 1
        return window.count <= ALLOWED

    def over(self, now: float) -> Iterator[LogEvent]:
        """
        Yield events that say what was left out until a while ago.

        `now` is in seconds since the epoch.
        """
        if not self._left_out:
            return
        for kind, window in list(self._windows.items()):
            if not _is_over(window, now):
                continue
            del self._windows[kind]
            if window.count > ALLOWED:
                self._left_out -= 1
                yield {
                    "log_time": now,
                    "log_level": window.level,
                    "log_namespace": kind[0],
                    "log_format": "{count} more like this were left out: {text}",
                    "count": window.count - ALLOWED,
                    "text": kind[1],
                }


def _is_over(window: _Window, now: float) -> bool:
    # A clock that was set back ends it, too.
    return not 0 <= now - window.start < WINDOW
