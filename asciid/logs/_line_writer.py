"""
Writes log lines in a dedicated thread.

Opening or writing a full pipe, a FIFO without a reader or a file on a hanging disk
blocks for an unlimited time.  Only this thread blocks.
"""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.internet.interfaces import IReactorCore
from twisted.logger import Logger

from asciid.runtime.threads import FixedThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.threadpool import ThreadPool

    from asciid.runtime.reactor import Reactor

__all__ = ["GATHER", "LAST_LINES", "MAX_WAITING", "LineWriter", "lost_lines"]

MAX_WAITING = 1024 * 1024
"""Maximum characters that are queued; further lines are dropped."""

GATHER = 0.02
"""Seconds for which lines are batched, so that a busy log wakes the thread rarely."""

LAST_LINES = 1.0
"""Maximum seconds that the end of the process waits for queued lines, in total."""

lost_lines: Counter[str] = Counter()
"""Number of lines dropped by this process, by kind of log."""

_log = Logger()


class _LogThread(FixedThreadPool):
    """A pool of one daemon thread."""

    threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment] # it is called

    def __init__(self) -> None:
        super().__init__(1, "asciid-log")


@define(eq=False)
class LineWriter:
    """
    A text stream that writes lines to `sink` in a thread, in batches.

    `sink` writes text and raises `OSError`.  Lines that cannot be written, or exceed
    `MAX_WAITING`, are dropped and counted in `lost_lines` as `kind`.  The first one is
    logged as an error, and their number once writing works again.  `name` is the name
    of the file in the log.

    Before `start` and without threads lines are written directly: ``twistd`` may still
    fork.  After `finish` the caller waits for its line, within the time limit.
    `gather` sleeps to batch lines, for a number of seconds; by default `finish`
    interrupts it.
    """

    _name: str
    _kind: str
    _sink: Callable[[str], object]
    _threads: ThreadPool = field(kw_only=True, factory=_LogThread)
    _monotonic: Callable[[], float] = field(kw_only=True, default=time.monotonic)
    _finishing: Event = field(init=False, factory=Event)
    _gather: Callable[[float], object] = field(kw_only=True)
    _lock: Lock = field(init=False, factory=Lock)
    _waiting: list[str] = field(init=False, factory=list)
    _size: int = field(init=False, default=0)
    _started: bool = field(init=False, default=False)
    _busy: bool = field(init=False, default=False)
    _written: Event = field(init=False, factory=Event)
    _deadline: float | None = field(init=False, default=None)
    _losing: int = field(init=False, default=0)
    """Lines dropped since the last error was logged."""

    @_gather.default
    def _gather_until_finish(self) -> Callable[[float], object]:
        return self._finishing.wait

    def attach(self, reactor: Reactor) -> None:
        """Start and finish with `reactor`, if that can run."""
        if IReactorCore.providedBy(reactor):
            reactor.addSystemEventTrigger("before", "startup", self.start)
            reactor.addSystemEventTrigger("after", "shutdown", self.finish)

    def start(self) -> None:
        """Start the thread; if that fails, lines are written directly."""
        try:
            self._threads.start()
        except OSError as error:
            _log.error(
                "{path}: cannot create a thread, writes may block: {error}",
                path=self._name,
                error=error,
            )
        else:
            self._started = True

    def finish(self) -> None:
        """Wait for the queued lines, and from now on for each line: `LAST_LINES`."""
        if self._started:
            self._deadline = self._monotonic() + LAST_LINES
            self._finishing.set()
            self._wait()

    def write(self, text: str) -> None:
        """Write `text`, whole lines; thread-safe."""
        if not self._started:
            self._hand_over([text])
            return
        with self._lock:
            fits = not self._size or self._size + len(text) <= MAX_WAITING
            if fits:
                self._waiting.append(text)
                self._size += len(text)
                idle, self._busy = not self._busy, True
        if not fits:
            self._lose([text], "too slow")
            return
        if idle:
            self._written.clear()
            self._threads.callInThread(self._write_waiting)
        if self._deadline is not None:
            self._wait()

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def _wait(self) -> None:
        if self._deadline is not None and self._busy:
            self._written.wait(max(0.0, self._deadline - self._monotonic()))

    def _write_waiting(self) -> None:
        """Write all queued lines, in the thread."""
        while True:
            self._gather(GATHER)
            with self._lock:
                texts, self._waiting = self._waiting, []
                size = self._size
                if not texts:
                    self._busy = False
                    self._written.set()
                    return
            self._hand_over(texts)
            with self._lock:
                # Lines that are being written count as queued.
                self._size -= size

    def _hand_over(self, texts: list[str]) -> None:
        try:
            self._sink("".join(texts))
        except Exception as error:  # noqa: BLE001 - must not end the thread
            self._lose(texts, getattr(error, "strerror", None) or str(error))
            return
        lost, self._losing = self._losing, 0
        if lost:
            _log.warn("{path}: {lost} lines dropped", path=self._name, lost=lost)

    def _lose(self, texts: list[str], reason: str) -> None:
        lost = sum(text.count("\n") for text in texts)
        lost_lines[self._kind] += lost
        first = not self._losing
        self._losing += lost
        # This line may be dropped as well, if it is for the same file.
        if first:
            _log.error(
                "cannot write {path}, dropping lines: {reason}",
                path=self._name,
                reason=reason,
            )
