"""Logs the log events and output of another process in the parent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger, globalLogPublisher

from asciid.logs import event_from

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["LogRelay"]

_MAX_LINE = 256 * 1024
"""Bytes of a line, or of text printed without a pause; longer ones are split."""

_PRINT_PAUSE = 0.1
"""Seconds for which printed text is collected: a traceback is one event of the log."""

_log = Logger()


class LogRelay:
    """
    Logs the events and the printed text of the process `name`.

    `clock` provides IReactorTime.
    """

    def __init__(self, name: str, clock: IReactorTime) -> None:
        self._name = name
        self._clock = clock
        self._line = b""
        self._printed = b""
        self._flush: IDelayedCall | None = None

    def log_received(self, data: bytes) -> None:
        """Log events, each a line for `event_from`."""
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._log_line(line)
        if len(self._line) > _MAX_LINE:
            self._flush_line()

    def print_received(self, data: bytes) -> None:
        """Log text once nothing more is printed for a moment."""
        self._printed += data
        if len(self._printed) > _MAX_LINE:
            self._flush_printed()
        elif self._flush is None:
            self._flush = self._clock.callLater(_PRINT_PAUSE, self._flush_printed)

    def finish(self) -> None:
        """Log unfinished lines and text."""
        self._flush_line()
        self._flush_printed()

    def _flush_line(self) -> None:
        line, self._line = self._line, b""
        if line:
            self._log_line(line)

    def _flush_printed(self) -> None:
        if self._flush is not None and self._flush.active():
            self._flush.cancel()
        self._flush = None
        printed, self._printed = self._printed, b""
        if text := printed.decode("utf-8", "replace").strip("\n"):
            self._log_text(text)

    def _log_line(self, data: bytes) -> None:
        line = data.decode("utf-8", "replace")
        try:
            event = event_from(line)
        except ValueError:  # printed by something else
            self._log_text(line)
            return
        event.setdefault("process", self._name)
        globalLogPublisher(event)

    def _log_text(self, text: str) -> None:
        _log.error("{process}: {text}", process=self._name, text=text)
