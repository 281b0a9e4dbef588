"""Events of another process."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from twisted.logger import LogBeginner, Logger, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from asciid.logs import event_from, pass_on
from asciid.logs._repeats import ALLOWED, WINDOW
from tests.logs.test_format import Log

if TYPE_CHECKING:
    from collections.abc import Callable


class OtherProcessTests(SynchronousTestCase):
    """Events logged there are logged here, with the same text."""

    def passed_on(self, style: str, log: Callable[[Logger], object]) -> Log:
        """Return a log with the events that `log` logs in another process."""
        publisher, stream = LogPublisher(), io.StringIO()
        self.addCleanup(setattr, warnings, "showwarning", warnings.showwarning)
        pass_on(
            stream, LogBeginner(publisher, io.StringIO(), SimpleNamespace(), warnings)
        )
        log(Logger("tests.other", observer=publisher))
        here = Log(style)
        for line in stream.getvalue().splitlines():
            here.publisher({**event_from(line), "process": "worker-1"})
        return here

    def test_fields(self) -> None:
        """The message and the fields are those of there, as text where need be."""
        here = self.passed_on(
            "json",
            lambda log: log.error(
                "{path}: {error}", path=Path("/a"), error=OSError("full"), more=[1]
            ),
        )
        (line,) = here.objects
        self.assertEqual(line["message"], "/a: full")
        self.assertEqual(
            (line["path"], line["error"], line["more"], line["process"]),
            ("/a", "full", [1], "worker-1"),
        )

    def test_failures(self) -> None:
        """Failures have their tracebacks, and are limited like those from here."""

        def fail(log: Logger) -> None:
            for _ in range(ALLOWED + 3):
                log.failure("It failed", Failure(RuntimeError("boom")))

        lines = self.passed_on("json", fail).objects
        self.assertEqual(len(lines), ALLOWED)
        self.assertEqual(lines[0]["message"], "It failed")
        self.assertIn("RuntimeError: boom", lines[0]["traceback"])
        text = self.passed_on("text", fail).text
        self.assertRegex(text, r"(?m)^\t.*RuntimeError: boom$")

    def test_left_out(self) -> None:
        """Summaries of suppressed events have the text of the sender."""

        def fail(log: Logger) -> None:
            for n in range(ALLOWED + 3):
                log.error("{n} failed", n=n)

        here = self.passed_on("json", fail)
        here.observer({"log_format": "later", "log_time": 2**33 + WINDOW})
        self.assertEqual(
            [line["message"] for line in here.objects[ALLOWED:]],
            ["3 more like this were suppressed: 0 failed", "later"],
        )

    def test_no_event(self) -> None:
        """A line that is something else is no event."""
        for line in ("", "{}", "[]", "printed", '{"fields": 1, "time": "x"}'):
            self.assertRaises(ValueError, event_from, line)
