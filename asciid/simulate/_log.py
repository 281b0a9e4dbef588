"""
Log lines in the two formats of Go's logrus: ``key=value`` text and JSON.

The text form is ``time="2024-01-02T15:04:05Z" level=info msg="chunk upload: OK"
chunk_id=1``; fields follow in alphabetical order, and a value is quoted when it
contains anything but letters, digits and ``-._/@^+``.
"""

from __future__ import annotations

import enum
import json
import re
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Protocol

    class Sink(Protocol):
        """The output of a log, such as a text stream."""

        def write(self, text: str, /) -> object:
            """Write whole lines."""


__all__ = ["FORMATS", "Level", "Log"]

Field = str | int | float

_BARE = re.compile(r"[A-Za-z0-9._/@^+-]+")
# Control characters that JSON does not escape.
_CONTROL = re.compile(r"[\x7f-\x9f]")


class Level(enum.IntEnum):
    """Log levels, ascending; lines have the name in lower case."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40
    FATAL = 50


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _quoted(value: Field) -> str:
    text = str(value)
    return text if _BARE.fullmatch(text) else _json(text)


def _text_line(stamp: str, level: str, msg: str, fields: Mapping[str, Field]) -> str:
    pairs = [f'time="{stamp}"', f"level={level}", f"msg={_quoted(msg)}"]
    pairs += [f"{name}={_quoted(fields[name])}" for name in sorted(fields)]
    return " ".join(pairs)


def _json_line(stamp: str, level: str, msg: str, fields: Mapping[str, Field]) -> str:
    members = {**fields, "level": level, "msg": msg, "time": stamp}
    return _json(members)


FORMATS = {"text": _text_line, "json": _json_line}
"""Name -> formatter of a line."""


class Log:
    """
    Writes one line per call to a text stream.

    `form` is a key of `FORMATS`, `threshold` the minimum level.  `now` returns seconds
    since the epoch; lines have UTC in whole seconds (RFC 3339).

    Raises the errors of the stream (:exc:`OSError`).
    """

    def __init__(
        self,
        stream: Sink,
        *,
        form: str = "text",
        threshold: Level = Level.INFO,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._stream = stream
        self._line = FORMATS[form]
        self._threshold = threshold
        self._now = now
        self._second = -1
        self._stamp = ""

    def debug(self, msg: str, **fields: Field) -> None:
        """Log at level debug."""
        self._emit(Level.DEBUG, msg, fields)

    def info(self, msg: str, **fields: Field) -> None:
        """Log at level info."""
        self._emit(Level.INFO, msg, fields)

    def warning(self, msg: str, **fields: Field) -> None:
        """Log at level warning."""
        self._emit(Level.WARNING, msg, fields)

    def error(self, msg: str, **fields: Field) -> None:
        """Log at level error."""
        self._emit(Level.ERROR, msg, fields)

    def fatal(self, msg: str, **fields: Field) -> None:
        """Log at level fatal; this does not end the program."""
        self._emit(Level.FATAL, msg, fields)

    def _emit(self, level: Level, msg: str, fields: Mapping[str, Field]) -> None:
        if level < self._threshold:
            return
        second = int(self._now())
        if second != self._second:
            # Formatting the time costs half of a line, and many lines share it.
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
            self._second = second
        line = self._line(self._stamp, level.name.lower(), msg, fields)
        self._stream.write(f"{line}\n")
