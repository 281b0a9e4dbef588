"""A queue from which several threads take what is to be done."""

from __future__ import annotations

from _thread import allocate_lock
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from _thread import LockType

__all__ = ["CallQueue"]

CallT = TypeVar("CallT")


class CallQueue(Generic[CallT]):
    """
    A queue that wakes one thread for each call, the one that began to wait last.

    That one has the most of its memory in the processor's cache.  `queue.SimpleQueue`
    wakes a second thread whenever the first has taken what it was woken for.
    """

    def __init__(self) -> None:
        self._calls: deque[CallT] = deque()
        # Each is locked; what releases it has removed it from here.
        self._waiting: list[LockType] = []

    def put(self, call: CallT) -> None:
        """Append a call, and wake a thread that waits for one, if any does."""
        self._calls.append(call)
        try:
            lock = self._waiting.pop()
        except IndexError:
            return
        lock.release()

    def get(self) -> CallT:
        """Return the first call; wait until there is one."""
        while True:
            try:
                return self._calls.popleft()
            except IndexError:
                self._wait()

    def _wait(self) -> None:
        lock = allocate_lock()
        lock.acquire()
        self._waiting.append(lock)
        if self._calls:
            # It was put before this thread could be woken for it.
            try:
                self._waiting.remove(lock)
            except ValueError:
                pass  # it is being woken, for that or another call
            else:
                return
        lock.acquire()
