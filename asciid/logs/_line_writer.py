"""
Writes the lines of a log in a thread of its own.

A pipe that nobody reads, a disk that hangs or a FIFO without a reader blocks the
thread that opens it or writes to it, for any time.  Only this thread waits for them.
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
"""Characters that may wait to be written; what exceeds them is lost."""

GATHER = 0.02
"""Seconds for which lines are gathered, so that a busy log wakes the thread rarely."""

LAST_LINES = 1.0
"""Seconds that the end of the process waits for the lines that are left, in all."""

lost_lines: Counter[str] = Counter()
"""Lines that this process has lost, by the kind of log."""

_log = Logger()


class _LogThread(FixedThreadPool):
    """One thread, which does not keep the process from ending."""

    threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment] # it is called

    def __init__(self) -> None:
        super().__init__(1, "asciid-log")


@define(eq=False)
class LineWriter:
    """
    Hands lines to `sink` in a thread, several at a time; a text stream to write to.

    `sink` takes text and raises `OSError` if it cannot be written.  Such lines, and
    those that exceed `MAX_WAITING`, are lost and counted in `lost_lines` as `kind`.
    The log gets one error when that begins, and the number of lines once lines are
    written again.  `name` is what the log calls the file.

    Before `start` and without threads lines are written at once: ``twistd`` may still
    fork.  After `finish` the caller waits for its line, as long as there is time.
    `gather` waits for lines to gather, for so many seconds; by default until `finish`
    is called at most.
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
    """Lines that were lost since the log got an error."""

    @_gather.default
    def _gather_until_finish(self) -> Callable[[float], object]:
        return self._finishing.wait

    def attach(self, reactor: Reactor) -> None:
        """Start and finish with `reactor`, if it is one that runs."""
        if IReactorCore.providedBy(reactor):
            reactor.addSystemEventTrigger("before", "startup", self.start)
            reactor.addSystemEventTrigger("after", "shutdown", self.finish)

    def start(self) -> None:
        """Write in the thread from now on, if it can be created."""
        try:
            self._threads.start()
        except OSError as error:
            _log.error("{path}: {error}: it may block", path=self._name, error=error)
        else:
            self._started = True

    def finish(self) -> None:
        """Wait until all lines are written, and for each later one: `LAST_LINES`."""
        if self._started:
            self._deadline = self._monotonic() + LAST_LINES
            self._finishing.set()
            self._wait()

    def write(self, text: str) -> None:
        """Write `text`, which is whole lines; it may be called in any thread."""
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
            self._lose([text], "it does not take lines as fast as they are logged")
            return
        if idle:
            self._written.clear()
            self._threads.callInThread(self._write_waiting)
        if self._deadline is not None:
            self._wait()

    def flush(self) -> None:
        """Do nothing: what is written is not kept back."""

    def _wait(self) -> None:
        if self._deadline is not None and self._busy:
            self._written.wait(max(0.0, self._deadline - self._monotonic()))

    def _write_waiting(self) -> None:
        """Write all that waits, in the thread."""
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
                # What is being written waits, too.
                self._size -= size

    def _hand_over(self, texts: list[str]) -> None:
        try:
            self._sink("".join(texts))
        except Exception as error:  # noqa: BLE001 - later lines may be written
            self._lose(texts, getattr(error, "strerror", None) or str(error))
            return
        lost, self._losing = self._losing, 0
        if lost:
            _log.warn("{path}: {lost} lines were lost", path=self._name, lost=lost)

    def _lose(self, texts: list[str], reason: str) -> None:
        lost = sum(text.count("\n") for text in texts)
        lost_lines[self._kind] += lost
        first = not self._losing
        self._losing += lost
        # This line may be lost as well, if it is written to the same file.
        if first:
            _log.error(
                "{path} cannot be written, lines are lost: {reason}",
                path=self._name,
                reason=reason,
            )
