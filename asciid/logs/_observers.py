"""Sets the format of twistd's log, and moves its writes to a thread."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    Logger,
    LogPublisher,
    globalLogPublisher,
)
from zope.interface import implementer

from asciid.logs._append import write_lines
from asciid.logs._format import LineFormatter
from asciid.logs._line_writer import LineWriter
from asciid.runtime.journal import is_journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO

    from twisted.logger import LogEvent

    from asciid.config.settings import Settings
    from asciid.runtime.reactor import Reactor

__all__ = ["TwistdLog", "restyle_twistd"]

_log = Logger()


def restyle_twistd(
    settings: Settings,
    reactor: Reactor,
    publisher: LogPublisher = globalLogPublisher,
) -> TwistdLog:
    """
    Apply `settings` to the log of ``twistd``, whatever its destination.

    Call it before ``twistd`` starts to log, when services are made.  Only files are
    changed; syslog, for example, has its own format.  While `reactor` runs, the file is
    written in a thread.
    """
    log = TwistdLog(settings, reactor, publisher)
    publisher.addObserver(log)
    return log


@implementer(ILogObserver)
class TwistdLog:
    """
    Receives the first event of ``twistd`` before twistd's own observer.

    An ILogObserver of the application would replace that observer, and so override
    --logfile, --syslog and --logger.
    """

    def __init__(
        self,
        settings: Settings,
        reactor: Reactor,
        publisher: LogPublisher,
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        self._publisher = publisher
        self._writer: LineWriter | None = None

    def __call__(self, _: LogEvent) -> None:
        """Replace the stream of the observer, once that is installed."""
        if self._writer is not None:
            return
        for observer in self._publisher._observers:  # noqa: SLF001 - no public way
            if isinstance(observer, FileLogObserver):
                file = observer._outFile  # noqa: SLF001 - likewise
                observer.formatEvent = LineFormatter(
                    self._settings.log_format,
                    self._settings.log_level,
                    journal=is_journal(file, os.environ),
                )
                self._writer = self._writer_of(file)
                observer._outFile = self._writer  # type: ignore[assignment] # noqa: SLF001 - it only uses write and flush

    def finish(self) -> None:
        """Wait for the queued lines, within the time limit, before the process ends."""
        if self._writer is not None:
            self._writer.finish()

    def _writer_of(self, file: IO[str]) -> LineWriter:
        """Return the writer that replaces `file`."""
        name = str(getattr(file, "path", None) or getattr(file, "name", "the log"))
        sink: Callable[[str], object]
        if hasattr(file, "rotate"):
            rotated = _RotatedFile(file)
            sink = rotated.write
            self._install_rotation(rotated)
        else:
            try:
                # A thread that blocks in a Python stream keeps its lock.
                sink = partial(write_lines, file.fileno())
            except (OSError, AttributeError):
                sink = file.write
        writer = LineWriter(name, "log", sink)
        writer.attach(self._reactor)
        return writer

    def _install_rotation(self, file: _RotatedFile) -> None:
        """Rotate the file at SIGUSR1, like twistd, but in the thread."""

        def rotate() -> None:
            file.is_due = True
            _log.info("rotating the log")

        if signal.getsignal(signal.SIGUSR1) not in (signal.SIG_DFL, signal.SIG_IGN):
            signal.signal(
                signal.SIGUSR1, lambda *_: self._reactor.callFromThread(rotate)
            )


@define
class _RotatedFile:
    """A `twisted.python.logfile` that rotates before the next line."""

    file: Any
    is_due: bool = field(init=False, default=False)
    """Whether to rotate before the next line."""

    def write(self, lines: str) -> None:
        """
        Append lines.

        Errors: `OSError`, `ValueError`.
        """
        if self.is_due:
            self.is_due = False
            self.file.rotate()
        self.file.write(lines)
