"""
Passes log events from one process to another, which logs them as its own.

Twisted's JSON of events drops the text of exceptions and paths; here the sender formats
the text.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TextIO, cast

from twisted.logger import FileLogObserver, LogLevel, globalLogBeginner

from asciid.logs._format import fields_of, json_line, message_of, traceback_of
from asciid.logs._repeats import kind_of

if TYPE_CHECKING:
    from twisted.logger import LogBeginner, LogEvent

    from asciid.logs._line_writer import LineWriter

__all__ = ["event_from", "pass_on"]


def pass_on(
    stream: TextIO | LineWriter, beginner: LogBeginner = globalLogBeginner
) -> None:
    """Write the events logged in this process to `stream`, for `event_from`."""
    # It only uses write and flush.
    observer = FileLogObserver(cast("TextIO", stream), _line)
    beginner.beginLoggingTo([observer], redirectStandardIO=False)


def event_from(line: str) -> LogEvent:
    """
    Return the event in `line`.

    Errors: `ValueError` if it is not an event.
    """
    try:
        passed = json.loads(line)
        event: LogEvent = {
            **passed["fields"],
            "log_time": float(passed["time"]),
            "log_level": LogLevel.levelWithName(passed["level"]),
            "log_namespace": passed["logger"],
            "log_format": "{log_text}",
            "log_text": passed["text"],
            "log_kind": passed["kind"],
        }
    except Exception as error:
        message = "not a log event"
        raise ValueError(message) from error
    if passed["traceback"]:
        event["log_traceback"] = passed["traceback"]
    return event


def _line(event: LogEvent) -> str:
    passed: dict[str, Any] = {
        "time": event.get("log_time", 0.0),
        "level": event.get("log_level", LogLevel.info).name,
        "logger": event.get("log_namespace", "-"),
        "text": message_of(event),
        "traceback": traceback_of(event),
        "kind": str(kind_of(event)),
        "fields": fields_of(event),
    }
    return json_line(passed)
