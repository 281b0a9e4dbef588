"""The thread that writes lines, stepped by hand."""

from __future__ import annotations

import errno
from threading import Event
from typing import TYPE_CHECKING

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import (
    ILogObserver,
    capturedLogs,
    formatEvent,
    globalLogPublisher,
)
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from asciid.logs import LineWriter, lost_lines
from asciid.logs._line_writer import LAST_LINES, MAX_WAITING
from asciid.testing import ManualThreadPool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.logger import LogEvent


class LineWriterTests(SynchronousTestCase):
    """Lines for a file that may fail or block."""

    def setUp(self) -> None:
        """Make a writer, started."""
        self.written: list[str] = []
        self.error: Exception | None = None
        self.gathered = 0.0
        self.threads = ManualThreadPool()
        self.writer = LineWriter(
            "/log/file",
            "test",
            self.sink,
            threads=self.threads,
            monotonic=lambda: 0.0,
            gather=self.gather,
        )
        self.addCleanup(lost_lines.pop, "test", None)

    def sink(self, lines: str) -> None:
        """Accept lines, or fail."""
        if self.error is not None:
            raise self.error
        self.written.append(lines)

    def gather(self, seconds: float) -> None:
        """Record the call."""
        self.gathered += seconds

    def messages(self, events: Sequence[LogEvent]) -> list[str]:
        """Return the logged messages."""
        return [str(formatEvent(event)) for event in events]

    def test_before_start(self) -> None:
        """Before the thread runs, lines are written at once."""
        self.writer.write("one\n")
        self.writer.flush()
        self.assertEqual(self.written, ["one\n"])
        self.writer.finish()

    def test_gathers(self) -> None:
        """The thread writes queued lines in batches; callers do not wait."""
        self.writer.start()
        self.assertTrue(self.threads.started)
        for line in ("one\n", "two\n"):
            self.writer.write(line)
        self.assertEqual((self.written, len(self.threads.work)), ([], 1))
        self.threads.step()
        self.assertEqual(self.written, ["one\ntwo\n"])
        self.writer.write("three\n")
        self.assertEqual(len(self.threads.work), 1)
        self.threads.step()
        self.assertEqual(self.written[1:], ["three\n"])
        self.assertGreater(self.gathered, 0)

    def test_too_slow(self) -> None:
        """Lines that exceed the queue are dropped, counted and reported."""
        self.writer.start()
        half = "x" * (MAX_WAITING // 2) + "\n"
        with capturedLogs() as events:
            for _ in range(5):
                self.writer.write(half)
        self.assertEqual(lost_lines["test"], 4)
        (line,) = self.messages(events)
        self.assertIn("cannot write /log/file, dropping lines: ", line)
        self.assertIn("too slow", line)
        with capturedLogs() as events:
            self.threads.step()
        self.assertEqual(self.messages(events), ["/log/file: 4 lines dropped"])
        self.assertEqual(self.written, [half])
        self.writer.write("after\n")
        self.threads.step()
        self.assertEqual((self.written[-1], lost_lines["test"]), ("after\n", 4))

    def test_large_line(self) -> None:
        """A line that is larger than all that may wait is written alone."""
        self.writer.start()
        large = "x" * MAX_WAITING + "\n"
        self.writer.write(large)
        self.threads.step()
        self.assertEqual(self.written, [large])

    def test_errors(self) -> None:
        """Lines that cannot be written are dropped; one error has the reason."""
        self.writer.start()
        self.error = OSError(errno.ENOSPC, "No space left on device")
        with capturedLogs() as events:
            for _ in range(3):
                self.writer.write("one\ntwo\n")
                self.threads.step()
            self.error = ValueError("write to closed file")
            self.writer.write("three\n")
            self.threads.step()
        (line,) = self.messages(events)
        self.assertIn("dropping lines: No space left on device", line)
        self.assertEqual(lost_lines["test"], 7)
        self.error = None
        with capturedLogs() as events:
            self.writer.write("four\n")
            self.threads.step()
        self.assertEqual(self.messages(events), ["/log/file: 7 lines dropped"])
        self.assertEqual(self.written, ["four\n"])

    def test_its_own_log(self) -> None:
        """A log that cannot be written does not report that to itself for ever."""
        self.writer.start()
        self.error = OSError(errno.ENOSPC, "No space left on device")

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            self.writer.write(f"{formatEvent(event)}\n")

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.writer.write("one\n")
        while self.threads.step():
            pass
        self.assertEqual(lost_lines["test"], 2)

    def test_end(self) -> None:
        """The end waits for queued lines, with a time limit in total."""
        self.writer.start()
        waited: list[float | None] = []
        self.patch(Event, "wait", lambda _, timeout=None: waited.append(timeout))
        self.writer.finish()
        self.assertEqual(waited, [])
        self.writer.write("last\n")
        self.assertEqual(waited, [LAST_LINES])
        self.threads.step()
        self.assertEqual(self.written, ["last\n"])

    def test_no_thread(self) -> None:
        """Without a thread lines are written directly, and a warning is logged."""
        self.patch(self.threads, "start", self.no_thread)
        with capturedLogs() as events:
            self.writer.start()
        self.assertIn("writes may block", self.messages(events)[0])
        self.writer.write("one\n")
        self.assertEqual(self.written, ["one\n"])

    def no_thread(self) -> None:
        """Fail as a pool does that cannot create its threads."""
        raise OSError(errno.EAGAIN, "cannot create the threads of asciid-log")

    def test_reactor(self) -> None:
        """It starts and finishes with a reactor."""
        reactor = MemoryReactorClock()
        self.writer.attach(object())
        self.writer.attach(reactor)
        triggers = reactor.triggers
        self.assertEqual(triggers["before"]["startup"][0][0], self.writer.start)
        self.assertEqual(triggers["after"]["shutdown"][0][0], self.writer.finish)

    def test_real_thread(self) -> None:
        """In a real thread, lines are written in order, and the end waits for all."""
        writer = LineWriter("file", "test", self.sink)
        writer.start()
        for number in range(1_000):
            writer.write(f"{number}\n")
        writer.finish()
        lines = "".join(self.written).split()
        self.assertEqual(lines, [str(number) for number in range(1_000)])
