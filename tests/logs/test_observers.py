"""The log of twistd."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogBeginner,
    Logger,
    LogPublisher,
    globalLogPublisher,
    textFileLogObserver,
)
from twisted.python.logfile import LogFile
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from asciid.config.settings import resolve
from asciid.logs import restyle_twistd
from asciid.testing import ManualReactor

if TYPE_CHECKING:
    from twisted.logger import LogEvent

JSON = resolve({"log-format": "json", "log-level": "warn"}, {})


class ObserverTests(SynchronousTestCase):
    """The log options of twistd."""

    def setUp(self) -> None:
        """Have a log that has not begun."""
        self.publisher = LogPublisher()
        self.stdio = SimpleNamespace(stdout=sys.stdout, stderr=sys.stderr)
        self.beginner = LogBeginner(self.publisher, io.StringIO(), self.stdio, warnings)
        self.addCleanup(setattr, warnings, "showwarning", warnings.showwarning)
        self.source = Logger("tests", observer=self.publisher)
        self.stream = io.StringIO()

    def messages(self) -> list[str]:
        """Return the messages in JSON lines."""
        return [json.loads(line)["message"] for line in self.lines()]

    def lines(self) -> list[str]:
        """Return the lines of the log."""
        return self.stream.getvalue().splitlines()

    def test_restyle(self) -> None:
        """Every line of twistd's log is in the format, from the first on."""
        self.source.warn("before")
        restyle_twistd(JSON, None, self.publisher)
        self.source.warn("made")
        self.beginner.beginLoggingTo([textFileLogObserver(self.stream)])
        self.source.info("not that much")
        self.source.error("after")
        self.stdio.stderr.write("printed\n")
        self.assertEqual(self.messages(), ["before", "made", "after", "printed"])

    def test_no_file(self) -> None:
        """An observer without a file is unchanged, and nothing fails."""
        seen: list[object] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            seen.append(event["log_format"])

        restyle_twistd(JSON, None, self.publisher)
        self.beginner.beginLoggingTo([observe])
        self.source.info("for syslog")
        self.assertEqual(seen, ["for syslog"])

    def test_own_file(self) -> None:
        """A file opened later has its own format."""
        restyle_twistd(JSON, None, self.publisher)
        self.beginner.beginLoggingTo([textFileLogObserver(io.StringIO())])
        self.source.error("the first")
        other = FileLogObserver(self.stream, lambda event: f"{event['log_format']}\n")
        self.publisher.addObserver(other)
        self.source.error("the second")
        self.assertEqual(self.lines(), ["the second"])

    def test_descriptor(self) -> None:
        """Standard output is written by its descriptor, and flushed at the end."""
        log = restyle_twistd(JSON, None, self.publisher)
        log.finish()
        path = Path(self.mktemp())
        with path.open("w") as file:
            self.beginner.beginLoggingTo([textFileLogObserver(file)])
            self.source.error("at once")
            log.finish()
            self.assertIn("at once", path.read_text())

    def test_rotation(self) -> None:
        """SIGUSR1 rotates twistd's log file before the next line."""
        number = signal.SIGUSR1
        self.addCleanup(signal.signal, number, signal.getsignal(number))
        # As twistd does.
        signal.signal(number, lambda *_: self.fail("not in this thread"))
        reactor = ManualReactor()
        path = Path(self.mktemp())
        file = LogFile.fromFullPath(os.fspath(path))
        self.addCleanup(file.close)
        restyle_twistd(resolve({}, {}), reactor, self.publisher)
        self.beginner.beginLoggingTo([textFileLogObserver(file)])
        logged: list[str] = []

        @implementer(ILogObserver)
        def relay(event: LogEvent) -> None:
            logged.append(str(event["log_format"]))

        globalLogPublisher.addObserver(relay)
        self.addCleanup(globalLogPublisher.removeObserver, relay)
        self.source.error("one")
        signal.raise_signal(number)
        self.source.error("two")
        reactor.advance(0)
        self.assertIn("rotating the log", logged)
        self.source.error("three")
        rotated = Path(f"{path}.1").read_text()
        self.assertIn("two", rotated)
        self.assertIn("three", path.read_text())
        self.assertNotIn("two", path.read_text())

    def test_no_rotation(self) -> None:
        """Without a handler of twistd, SIGUSR1 is unchanged."""
        number = signal.SIGUSR1
        self.addCleanup(signal.signal, number, signal.getsignal(number))
        signal.signal(number, signal.SIG_IGN)
        file = LogFile.fromFullPath(self.mktemp())
        self.addCleanup(file.close)
        restyle_twistd(JSON, None, self.publisher)
        self.beginner.beginLoggingTo([textFileLogObserver(file)])
        self.source.error("one")
        self.assertEqual(signal.getsignal(number), signal.SIG_IGN)
