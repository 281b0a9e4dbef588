"""Tests of asciid.runtime._call_queue."""

from __future__ import annotations

import threading
import time
from collections import deque

from twisted.trial.unittest import SynchronousTestCase

from asciid.runtime._call_queue import CallQueue


class CallQueueTests(SynchronousTestCase):
    """A queue for several threads."""

    def setUp(self) -> None:
        """Make an empty queue."""
        self.queue: CallQueue[int] = CallQueue()
        self.taken: list[tuple[str, int]] = []
        self.threads: list[threading.Thread] = []
        self.addCleanup(self.join)

    def take(self, name: str) -> None:
        """Take one call in a thread, which waits for it."""
        before = len(self.queue._waiting)
        thread = threading.Thread(
            target=lambda: self.taken.append((name, self.queue.get()))
        )
        thread.start()
        self.threads.append(thread)
        while len(self.queue._waiting) == before:
            time.sleep(0.001)

    def join(self) -> None:
        """Wait for all threads to end."""
        for thread in self.threads:
            thread.join(10)
            self.assertFalse(thread.is_alive())
        self.threads.clear()

    def test_order(self) -> None:
        """Calls are taken in their order."""
        for number in range(3):
            self.queue.put(number)
        self.assertEqual([self.queue.get() for _ in range(3)], [0, 1, 2])

    def test_last_one_is_woken(self) -> None:
        """Of the threads that wait, the last one is woken, and no other."""
        for name in "abc":
            self.take(name)
        self.queue.put(1)
        last = self.threads.pop()
        last.join(10)
        self.assertEqual(self.taken, [("c", 1)])
        self.assertEqual(len(self.queue._waiting), 2)
        self.queue.put(2)
        self.queue.put(3)
        self.join()
        # Either of the two may have been first.
        self.assertEqual(sorted(number for _, number in self.taken), [1, 2, 3])

    def test_put_before_waiting(self) -> None:
        """A call that is put just before a thread waits is taken by it."""

        class Late(deque[int]):
            """Is empty when it is asked for the first time."""

            late = True

            def popleft(self) -> int:
                """Fail once."""
                if self.late:
                    self.late = False
                    raise IndexError
                return super().popleft()

        self.queue._calls = Late([7])
        self.assertEqual(self.queue.get(), 7)
        self.assertEqual(self.queue._waiting, [])

    def test_woken_before_waiting(self) -> None:
        """A thread that is woken before it waits goes on at once."""
        queue = self.queue

        class Waiting(list[object]):
            """Is woken as soon as a thread is in it."""

            def append(self, lock: object) -> None:
                """Have a call put."""
                super().append(lock)
                queue.put(7)

        self.queue._waiting = Waiting()  # type: ignore[assignment]
        self.assertEqual(self.queue.get(), 7)

    def test_each_once(self) -> None:
        """Each call is taken once, whatever threads put and take."""
        count = 2_000

        def take_some() -> None:
            while (number := self.queue.get()) >= 0:
                self.taken.append(("", number))

        def put_some(start: int) -> None:
            for number in range(start, count, 2):
                self.queue.put(number)

        takers = [threading.Thread(target=take_some) for _ in range(3)]
        putters = [threading.Thread(target=put_some, args=(at,)) for at in (0, 1)]
        for thread in takers + putters:
            thread.start()
        for thread in putters:
            thread.join(10)
        for _ in takers:
            self.queue.put(-1)
        self.threads += takers
        self.join()
        self.assertEqual(sorted(number for _, number in self.taken), list(range(count)))
