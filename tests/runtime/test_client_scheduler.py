"""The reactor's time is shared out among clients, not among their connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from asciid.runtime.client_scheduler import (
    AT_WORK,
    CLIENT_SLICE,
    CONTENDED,
    ROUND,
    WINDOW,
    ClientQueue,
    ClientScheduler,
)

if TYPE_CHECKING:
    from collections.abc import Callable


class ClientSchedulerTests(SynchronousTestCase):
    """Work of several clients, on a clock that only work moves."""

    def setUp(self) -> None:
        """Have no client yet."""
        reactor = Clock()
        self.calls: list[Callable[[], None]] = []
        self.patch(reactor, "callLater", lambda _, call: self.calls.append(call))
        self.now = 100.0
        self.scheduler = ClientScheduler(reactor, lambda: self.now)
        self.done: list[str] = []

    def work(self, name: str, seconds: float = 0.0) -> Callable[[], None]:
        """Return a call that takes some time."""

        def call() -> None:
            self.done.append(name)
            self.now += seconds

        return call

    def contend(self) -> None:
        """Have two clients be active."""
        for name in ("one", "other"):
            self.scheduler.switch(self.scheduler.queue_of(name), self.now)

    def turn(self) -> list[str]:
        """Run one turn of the reactor; return the calls made in it."""
        self.done = []
        [call] = self.calls
        self.calls.clear()
        call()
        return self.done

    def test_one_queue(self) -> None:
        """A client has one queue, however many connections it has."""
        queue = self.scheduler.queue_of("a")
        self.assertIs(self.scheduler.queue_of("a"), queue)
        self.assertIsNot(self.scheduler.queue_of("b"), queue)

    def test_lone_client(self) -> None:
        """One client alone gets all that is queued in one turn of the reactor."""
        queue = self.scheduler.queue_of("a")
        self.scheduler.switch(queue, self.now)
        for name in ("1", "2", "3"):
            self.scheduler.later(queue, self.work(name, ROUND))
        self.assertEqual(self.turn(), ["1", "2", "3"])
        self.assertEqual(self.calls, [])

    def test_contended(self) -> None:
        """While others are active, a client's queue gets a slice in a turn."""
        self.contend()
        queue = self.scheduler.queue_of("many")
        few = self.scheduler.queue_of("few")
        for name in ("1", "2", "3"):
            self.scheduler.later(queue, self.work(name, CLIENT_SLICE / 2))
        self.scheduler.later(few, self.work("few"))
        self.assertEqual(self.turn(), ["1", "2", "few"])
        self.assertEqual(self.turn(), ["3"])

    def test_round(self) -> None:
        """A turn ends after a round, and the next clients in line begin the next."""
        self.contend()
        queues = [self.scheduler.queue_of(name) for name in "abcde"]
        for name, queue in zip("abcde", queues, strict=True):
            for _ in range(2):
                self.scheduler.later(queue, self.work(name, 1.1 * CLIENT_SLICE))
        self.assertEqual(self.turn(), ["a", "b", "c"])
        self.assertEqual(self.turn(), ["d", "e", "a"])
        self.assertEqual(self.turn(), ["b", "c", "d"])
        self.assertEqual(self.turn(), ["e"])

    def test_queued_meanwhile(self) -> None:
        """Calls queued by a call wait for the next turn, also for a lone client."""
        queue = self.scheduler.queue_of("a")

        def call() -> None:
            self.done.append("first")
            self.scheduler.later(queue, self.work("second"))

        self.scheduler.later(queue, call)
        self.assertEqual(self.turn(), ["first"])
        self.assertEqual(self.turn(), ["second"])

    def test_cancelled(self) -> None:
        """A call that was cancelled is not made."""
        queue = self.scheduler.queue_of("a")
        queued = self.scheduler.later(queue, self.work("1"))
        self.scheduler.later(queue, self.work("2"))
        queued.cancel()
        self.assertEqual(self.turn(), ["2"])

    def test_error(self) -> None:
        """An error in one call does not keep the others from being made."""

        def fail() -> None:
            raise ZeroDivisionError

        queue = self.scheduler.queue_of("a")
        self.scheduler.later(queue, fail)
        self.scheduler.later(queue, self.work("1"))
        self.scheduler.later(self.scheduler.queue_of("b"), self.work("2"))
        self.assertRaises(ZeroDivisionError, self.turn)
        self.assertEqual(self.turn(), ["2", "1"])

    def test_end_of_contention(self) -> None:
        """Clients count as active together for some time only."""
        self.assertLess(self.scheduler.contended_until, self.now)
        self.contend()
        self.assertEqual(self.scheduler.contended_until, self.now + CONTENDED)

    def test_must_wait(self) -> None:
        """A client waits once it has used its slice, until the window is over."""
        queue = ClientQueue()
        self.assertFalse(queue.must_wait(1.0))
        queue.use(CLIENT_SLICE)
        self.assertTrue(queue.must_wait(1.0))
        self.assertFalse(queue.must_wait(1.001 + WINDOW))

    def test_must_wait_behind_others(self) -> None:
        """A client with a queue waits at its end."""
        queue = self.scheduler.queue_of("a")
        self.scheduler.later(queue, self.work("1"))
        self.assertTrue(queue.must_wait(self.now + WINDOW))

    def test_requests_at_work(self) -> None:
        """While others are active, some requests of a client are at work at a time."""
        queue = self.scheduler.queue_of("a")
        queue.at_work = AT_WORK
        self.contend()
        self.assertTrue(queue.must_wait(self.now))
        for name in ("1", "2"):
            self.scheduler.later(queue, self.work(name), begins=True)
        self.scheduler.later(queue, self.work("at work"))
        self.assertEqual(self.turn(), ["at work"])
        self.assertEqual(self.calls, [])
        self.assertTrue(queue.must_wait(self.now))
        self.scheduler.done(queue)
        self.assertEqual(self.turn(), ["1"])

    def test_requests_at_work_alone(self) -> None:
        """A client alone may have any number of requests at work."""
        queue = self.scheduler.queue_of("a")
        queue.at_work = AT_WORK
        self.scheduler.later(queue, self.work("1"), begins=True)
        self.assertEqual(self.turn(), ["1"])

    def test_requests_at_work_afterwards(self) -> None:
        """What waited for other requests is served once they are answered."""
        queue = self.scheduler.queue_of("a")
        queue.at_work = AT_WORK
        self.contend()
        for name in ("1", "2"):
            self.scheduler.later(queue, self.work(name), begins=True)
        self.turn()
        for _ in range(AT_WORK):
            self.scheduler.done(queue)
        self.assertEqual(self.turn(), ["1", "2"])
        self.assertFalse(queue.must_wait(self.now + WINDOW))

    def test_requests_that_never_are_at_work(self) -> None:
        """Calls that begin no request after all do not keep others waiting."""
        queue = self.scheduler.queue_of("a")
        queue.at_work = AT_WORK
        self.contend()
        names = [str(number) for number in range(2 * AT_WORK + 1)]
        queued = [
            self.scheduler.later(queue, self.work(name), begins=True) for name in names
        ]
        self.assertEqual(self.turn(), [])
        queued[0].cancel()
        for _ in range(AT_WORK):
            self.scheduler.done(queue)
        served = [name for _ in range(3) for name in self.turn()]
        self.assertEqual(served, names[1:])
