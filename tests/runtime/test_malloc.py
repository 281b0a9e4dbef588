"""Tests of asciid.runtime.malloc."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from asciid.errors import StoreBusyError
from asciid.runtime.malloc import (
    INTERVAL,
    MemoryTrimmer,
    set_allocator_thresholds,
    trim,
)


class FakeLibrary:
    """A C library that notes the calls."""

    def __init__(self) -> None:
        self.options: dict[int, int] = {}
        self.trims: list[int] = []

    def mallopt(self, parameter: int, value: int) -> int:
        """Note the call."""
        self.options[parameter] = value
        return 1

    def malloc_trim(self, pad: int) -> int:
        """Note the call."""
        self.trims.append(pad)
        return 1


class LibraryTests(SynchronousTestCase):
    """Calls of the C library."""

    def test_thresholds(self) -> None:
        """The size of large blocks is set, above that of one read, and stays."""
        library = FakeLibrary()
        set_allocator_thresholds(library)
        sizes = library.options
        self.assertGreater(sizes[-3], 64 * 1024 + 100)
        self.assertLess(sizes[-3], 256 * 1024)

    def test_trim(self) -> None:
        """All that is free is returned."""
        library = FakeLibrary()
        trim(library)
        self.assertEqual(library.trims, [0])

    def test_another_library(self) -> None:
        """Where the library has no such functions, nothing is done."""
        for library in (object(), None):
            set_allocator_thresholds(library)
            trim(library)


class MemoryTrimmerTests(SynchronousTestCase):
    """When memory is returned."""

    def setUp(self) -> None:
        """Start one."""
        self.clock = Clock()
        self.used = 5.0
        self.trims = 0
        self.outcome: Deferred[None] | None = None
        self.trimmer = MemoryTrimmer(
            lambda call: self.outcome or maybeDeferred(call),
            clock=self.clock,
            processor_time=lambda: self.used,
            trim=self.note,
        )
        self.trimmer.start()
        self.addCleanup(self.trimmer.stop)

    def note(self) -> None:
        """Count a call."""
        self.trims += 1

    def after(self, used: float) -> int:
        """Return how often memory was returned after an interval of such work."""
        self.used += used
        self.trims = 0
        self.clock.advance(INTERVAL)
        return self.trims

    def test_idle(self) -> None:
        """A process that does nothing returns nothing."""
        self.assertEqual([self.after(0.01) for _ in range(3)], [0, 0, 0])

    def test_after_work(self) -> None:
        """After work memory is returned, and once more when it has ended."""
        works = (0.5, 0.01, 0.01, 0.01)
        self.assertEqual([self.after(work) for work in works], [1, 1, 0, 0])

    def test_busy(self) -> None:
        """A busy process is left alone until it is not busy any more."""
        works = (0.9 * INTERVAL, 0.9 * INTERVAL, 0.01, 0.01)
        self.assertEqual([self.after(work) for work in works], [0, 0, 1, 0])

    def test_no_thread(self) -> None:
        """Where no thread is free, there is another time."""
        self.outcome = fail(StoreBusyError())
        self.assertEqual(self.after(0.5), 0)
        self.outcome = None
        self.assertEqual(self.after(0.01), 1)

    def test_one_at_a_time(self) -> None:
        """A call that takes long is waited for."""
        self.outcome = Deferred()
        self.after(0.5)
        outcome, self.outcome = self.outcome, None
        self.assertEqual(self.after(0.5), 0)
        outcome.callback(None)
        self.assertEqual(self.after(0.5), 1)

    def test_stop(self) -> None:
        """After `stop` nothing is done; it may be called twice, or before `start`."""
        self.trimmer.stop()
        self.trimmer.stop()
        self.assertEqual(self.after(0.5), 0)
