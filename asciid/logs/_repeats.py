"""Suppresses repeated warnings and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.logger import LogLevel

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from twisted.logger import LogEvent

__all__ = ["ALLOWED", "WINDOW", "Repeats", "kind_of"]

WINDOW = 60.0
"""Seconds of a window in which events of one kind are counted."""

ALLOWED = 5
"""Events of one kind that are logged per window."""

_LIMITED = frozenset({LogLevel.warn, LogLevel.error, LogLevel.critical})


def kind_of(event: LogEvent) -> Hashable:
    """Return the key of the kind of `event`."""
    passed_on = event.get("log_kind")
    if passed_on is not None:
        return str(passed_on)
    failure = event.get("log_failure")
    return (
        event.get("log_namespace"),
        event.get("log_format"),
        None if failure is None else failure.type.__name__,
    )


@define
class _Window:
    """The events of one kind and level from `start` on."""

    start: float
    level: Any
    """A constant of `LogLevel`."""
    namespace: str
    text: str
    """The text of the first event."""
    count: int = 0


@define
class Repeats:
    """
    Decides which warnings and errors are suppressed as repeats.

    Events of one kind have the same format and, if they report an exception, the same
    exception class.  Time is that of the events.
    """

    _windows: dict[Hashable, _Window] = field(init=False, factory=dict)
    _left_out: int = field(init=False, default=0)
    """Windows with suppressed events."""

    def admit(self, event: LogEvent) -> bool:
        """Return whether to log `event`."""
        level = event.get("log_level")
        if level not in _LIMITED:
            return True
        kind = kind_of(event)
        now = event.get("log_time", 0.0)
        window = self._windows.get(kind)
        if window is None or _has_ended(window, now):
            window = self._windows[kind] = _Window(
                now, level, event.get("log_namespace", "-"), _words(event)
            )
        window.count += 1
        self._left_out += window.count == ALLOWED + 1
        return window.count <= ALLOWED

    def summaries(self, now: float) -> Iterator[LogEvent]:
        """
        Yield summaries of the windows that have ended.

        `now` is in seconds since the epoch.
        """
        if not self._left_out:
            return
        for kind, window in list(self._windows.items()):
            if not _has_ended(window, now):
                continue
            # The writer thread logs, too, and may have removed it.
            if self._windows.pop(kind, None) and window.count > ALLOWED:
                self._left_out -= 1
                yield {
                    "log_time": now,
                    "log_level": window.level,
                    "log_namespace": window.namespace,
                    "log_format": "{count} more like this were suppressed: {text}",
                    "count": window.count - ALLOWED,
                    "text": window.text,
                }


def _has_ended(window: _Window, now: float) -> bool:
    # A clock set back ends the window, too.
    return not 0 <= now - window.start < WINDOW


def _words(event: LogEvent) -> str:
    return str(event.get("log_text") or event.get("log_format"))
