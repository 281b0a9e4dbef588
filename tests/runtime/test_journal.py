"""Lines for the journal of systemd."""

from __future__ import annotations

import io
import os
from pathlib import Path

from twisted.logger import FileLogObserver, Logger, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from asciid.logs._format import LineFormatter
from asciid.runtime.journal import is_journal


class JournalTests(SynchronousTestCase):
    """sd-daemon(3): a priority before each line."""

    def test_priorities(self) -> None:
        """Each level has its priority, and the line no time of its own."""
        stream = io.StringIO()
        formatter = LineFormatter("text", "debug", journal=True)
        log = Logger("tests.log", observer=FileLogObserver(stream, formatter))
        for level in LogLevel.iterconstants():
            log.emit(level, "message")
        self.assertEqual(
            stream.getvalue().splitlines(),
            [f"<{priority}>[tests.log] message" for priority in (7, 6, 4, 3, 2)],
        )

    def test_lines(self) -> None:
        """Each line of an event has the priority, which a client cannot forge."""
        stream = io.StringIO()
        formatter = LineFormatter("text", "info", journal=True)
        log = Logger("tests.log", observer=FileLogObserver(stream, formatter))
        log.info("{text}", text="a\n<0>b")
        log.failure("It failed", Failure(RuntimeError("boom")))
        first, second, third, *rest = stream.getvalue().splitlines()
        self.assertEqual((first, second), ("<6>[tests.log] a", "<6>\t<0>b"))
        self.assertEqual(third, "<2>[tests.log] It failed")
        self.assertTrue(all(line.startswith("<2>\t") for line in rest), rest)

    def test_which_stream(self) -> None:
        """The journal is the stream with the device and inode of JOURNAL_STREAM."""
        with (
            Path(self.mktemp()).open("w") as journal,
            Path(self.mktemp()).open("w") as other,
        ):
            status = os.fstat(journal.fileno())
            environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
            self.assertTrue(is_journal(journal, environ))
            self.assertFalse(is_journal(other, environ))
            self.assertFalse(is_journal(journal, {}))
        self.assertFalse(is_journal(journal, environ))
        self.assertFalse(is_journal(io.StringIO(), environ))
