"""Formats events of twisted.logger as text or JSON lines."""

from __future__ import annotations

import json
import re
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from twisted.logger import LogLevel, formatEvent

from asciid.logs._repeats import Repeats
from asciid.runtime.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.logger import LogEvent

__all__ = [
    "FORMATS",
    "LEVELS",
    "LineFormatter",
    "fields_of",
    "is_library_detail",
    "json_line",
    "message_of",
    "traceback_of",
    "utc_time",
]

LEVELS = tuple(level.name for level in LogLevel.iterconstants())
"""The names of the levels, ascending."""

# Keys added by twisted.python.log for legacy observers, and those of every line.
_NOT_FIELDS = frozenset(
    {"failure", "format", "isError", "printed", "system", "why"}
    | {"time", "level", "logger", "message", "traceback"}
)


_BELOW_WARN = frozenset({LogLevel.debug, LogLevel.info})
_LIFE_OF_THE_DAEMON = ("twisted.scripts.", "twisted.internet.base")


class LineFormatter:
    """
    Formats events as log lines; None for events that are filtered out.

    `style` is one of `FORMATS`, `level`, one of `LEVELS`, the minimum level.  Repeated
    events are filtered out, too (see `Repeats`).  Details of Twisted itself are logged
    at ``debug``.  With `journal` a line starts with its priority, and text lines have
    no time.
    """

    def __init__(self, style: str, level: str, *, journal: bool = False) -> None:
        self._format = FORMATS[style]
        if journal:
            to_line = _JOURNAL_FORMATS[style]
            self._format = lambda event: _with_priority(to_line(event), event)
        self._levels = {
            LogLevel.levelWithName(name) for name in LEVELS[LEVELS.index(level) :]
        }
        self._is_verbose = level == "debug"
        self._repeats = Repeats()

    def __call__(self, event: LogEvent) -> str | None:
        """Return the line with its newline, after lines on suppressed events."""
        if event.get("log_level", LogLevel.info) not in self._levels:
            return None
        if not self._is_verbose and is_library_detail(event):
            return None
        now = event.get("log_time", 0.0)
        lines = [self._format(summary) for summary in self._repeats.summaries(now)]
        if self._repeats.admit(event):
            lines.append(self._format(event))
        return "".join(lines) or None


def is_library_detail(event: LogEvent) -> bool:
    """
    Return whether `event` is a routine message of Twisted itself.

    Such as opened and closed ports, and connection attempts.  Start, signals and end of
    the daemon are not, except in a worker.
    """
    if event.get("log_level", LogLevel.info) not in _BELOW_WARN:
        return False
    namespace = str(event.get("log_namespace", ""))
    if "process" not in event and namespace.startswith(_LIFE_OF_THE_DAEMON):
        return False
    return namespace == "log_legacy" or namespace.startswith("twisted.")


def utc_time(seconds: float) -> str:
    """Return seconds since the epoch in RFC 3339 form, to the millisecond."""
    second, millisecond = divmod(round(seconds * 1000), 1000)
    return f"{_utc_second(second)}.{millisecond:03}Z"


def json_line(members: dict[str, Any]) -> str:
    """
    Return a line with a JSON object in printable ASCII.

    Values without a JSON type are converted to text, bytes to Latin-1 text, and lone
    surrogates, which many parsers refuse, to escape sequences.
    """
    line = _encode(members)
    if "\\ud" in line:
        line = _escape(_without_lone_surrogate, line)
    return line + "\n"


def _text_line(event: LogEvent) -> str:
    text, name = _text_of(event), event.get("log_system")
    if not text:
        return ""
    if name is None:
        level = event.get("log_level", LogLevel.info)
        name = f"{event.get('log_namespace', '-')}#{level.name}"
    return f"{_text_start(int(event.get('log_time', 0)), str(name))}{text}\n"


def _journal_line(event: LogEvent) -> str:
    text = _text_of(event)
    if not text:
        return ""
    name = printable(str(event.get("log_namespace", "-")))
    return f"[{name}] {text}\n"


def _text_of(event: LogEvent) -> str:
    text = message_of(event)
    if traceback := traceback_of(event):
        text = f"{text}\n{traceback}"
    if not text.isprintable():
        # Continuation lines are indented, so that no line can be forged.
        text = printable(text).rstrip("\n").replace("\n", "\n\t")
    return text


def _event_json_line(event: LogEvent) -> str:
    message = message_of(event)
    traceback = traceback_of(event)
    if not (message or traceback):
        return ""
    members: dict[str, Any] = {
        "time": utc_time(event.get("log_time", 0.0)),
        "level": event.get("log_level", LogLevel.info).name,
        "logger": event.get("log_namespace", "-"),
        "message": message,
    }
    if traceback:
        members["traceback"] = traceback
    return json_line(members | fields_of(event))


FORMATS: dict[str, Callable[[LogEvent], str]] = {
    "text": _text_line,
    "json": _event_json_line,
}
"""The log formats."""

_JOURNAL_FORMATS = {"text": _journal_line, "json": _event_json_line}
"""The log formats for the journal, which records time and priority itself."""

_PRIORITIES = {
    LogLevel.debug: 7,
    LogLevel.info: 6,
    LogLevel.warn: 4,
    LogLevel.error: 3,
    LogLevel.critical: 2,
}
"""The priorities of syslog(3)."""


def _with_priority(line: str, event: LogEvent) -> str:
    """Prefix each line with its priority: sd-daemon(3)."""
    prefix = f"<{_PRIORITIES[event.get('log_level', LogLevel.info)]}>"
    return "".join(f"{prefix}{part}" for part in line.splitlines(keepends=True))


def fields_of(event: LogEvent) -> dict[str, Any]:
    """Return the specific fields of the event."""
    return {
        name: value
        for name, value in event.items()
        if not name.startswith("log_") and name not in _NOT_FIELDS
    }


def message_of(event: LogEvent) -> str:
    """Return the message of the event, without its traceback."""
    # As formatEvent does for most events, at a quarter of the cost.
    try:
        message: str = event["log_format"].format_map(event)
    except Exception:  # noqa: BLE001 - formatEvent never fails
        return formatEvent(event)
    return message


def traceback_of(event: LogEvent) -> str:
    """Return the traceback of the event, empty if it has none."""
    failure = event.get("log_failure")
    if failure is not None:
        return str(failure.getTraceback())
    passed_on: str = event.get("log_traceback", "")
    return passed_on


@lru_cache(maxsize=2)
def _utc_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


@lru_cache(maxsize=16)
def _text_start(second: int, name: str) -> str:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(second))
    return f"{moment} [{printable(name)}] "


_escape = re.compile(
    r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|\\ud[89a-f][0-9a-f]{2}|\\."
).sub
"""Matches escape sequences of JSON; a surrogate pair is one match."""

_LONE_SURROGATE = len(r"\udcff")


def _without_lone_surrogate(match: re.Match[str]) -> str:
    sequence = match[0]
    return f"\\{sequence}" if len(sequence) == _LONE_SURROGATE else sequence


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


_encode = json.JSONEncoder(default=_text).encode
