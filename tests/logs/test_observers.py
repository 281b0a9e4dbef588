"""The log of twistd."""

from __future__ import annotations

import io
import json
import sys
import warnings
from types import SimpleNamespace
from typing import TYPE_CHECKING

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogBeginner,
    Logger,
    LogPublisher,
    textFileLogObserver,
)
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from asciid.config import resolve
from asciid.logs import restyle_twistd

if TYPE_CHECKING:
    from twisted.logger import LogEvent

JSON = resolve({"log-format": "json", "log-level": "warn"}, {})


class ObserverTests(SynchronousTestCase):
    """Whatever twistd was told of its log."""

    def setUp(self) -> None:
        """Have a log that has not begun."""
        self.publisher = LogPublisher()
        self.stdio = SimpleNamespace(stdout=sys.stdout, stderr=sys.stderr)
        self.beginner = LogBeginner(self.publisher, io.StringIO(), self.stdio, warnings)
        self.addCleanup(setattr, warnings, "showwarning", warnings.showwarning)
        self.source = Logger("tests", observer=self.publisher)
        self.stream = io.StringIO()

    def messages(self) -> list[str]:
        """Return what the lines of JSON say."""
        return [json.loads(line)["message"] for line in self.lines()]

    def lines(self) -> list[str]:
        """Return the lines of the log."""
        return self.stream.getvalue().splitlines()

    def test_restyle(self) -> None:
        """Every line of twistd's log is in the format, from the first on."""
        self.source.warn("before")
        restyle_twistd(JSON, self.publisher)
        self.source.warn("made")
        self.beginner.beginLoggingTo([textFileLogObserver(self.stream)])
        self.source.info("not that much")
        self.source.error("after")
        self.stdio.stderr.write("printed\n")
        self.assertEqual(self.messages(), ["before", "made", "after", "printed"])

    def test_no_file(self) -> None:
        """An observer that writes no file is left as it is, and nothing fails."""
        seen: list[object] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            seen.append(event["log_format"])

        restyle_twistd(JSON, self.publisher)
        self.beginner.beginLoggingTo([observe])
        self.source.info("for syslog")
        self.assertEqual(seen, ["for syslog"])

    def test_own_file(self) -> None:
        """A file that comes later has a form of its own."""
        restyle_twistd(JSON, self.publisher)
        self.beginner.beginLoggingTo([textFileLogObserver(io.StringIO())])
        self.source.error("the first")
        other = FileLogObserver(self.stream, lambda event: f"{event['log_format']}\n")
        self.publisher.addObserver(other)
        self.source.error("the second")
        self.assertEqual(self.lines(), ["the second"])
