"""The reactor's time is shared out among clients, not among their connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from asciid.runtime.turns import AT_WORK, CONTENDED, ROUND, SLICE, WINDOW, Share, Turns

if TYPE_CHECKING:
    from collections.abc import Callable


class TurnsTests(SynchronousTestCase):
    """Work of several clients, on a clock that only work moves."""

    def setUp(self) -> None:
        """Have no client yet."""
        reactor = Clock()
        self.calls: list[Callable[[], None]] = []
        self.patch(reactor, "callLater", lambda _, call: self.calls.append(call))
        self.now = 100.0
        self.turns = Turns(reactor, lambda: self.now)
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
            self.turns.switch(self.turns.share_of(name), self.now)

    def turn(self) -> list[str]:
        """Run one turn of the reactor; return the calls made in it."""
        self.done = []
        [call] = self.calls
        self.calls.clear()
        call()
        return self.done

    def test_share(self) -> None:
        """A client has one share, however many connections it has."""
        share = self.turns.share_of("a")
        self.assertIs(self.turns.share_of("a"), share)
        self.assertIsNot(self.turns.share_of("b"), share)

    def test_lone_client(self) -> None:
        """One client alone gets all that is queued in one turn of the reactor."""
        share = self.turns.share_of("a")
        self.turns.switch(share, self.now)
        for name in ("1", "2", "3"):
            self.turns.later(share, self.work(name, ROUND))
        self.assertEqual(self.turn(), ["1", "2", "3"])
        self.assertEqual(self.calls, [])

    def test_contended(self) -> None:
        """While others are active, a client's queue gets a slice in a turn."""
        self.contend()
        share = self.turns.share_of("many")
        few = self.turns.share_of("few")
        for name in ("1", "2", "3"):
            self.turns.later(share, self.work(name, SLICE / 2))
        self.turns.later(few, self.work("few"))
        self.assertEqual(self.turn(), ["1", "2", "few"])
        self.assertEqual(self.turn(), ["3"])

    def test_round(self) -> None:
        """A turn ends after a round, and the next clients in line begin the next."""
        self.contend()
        shares = [self.turns.share_of(name) for name in "abcde"]
        for name, share in zip("abcde", shares, strict=True):
            for _ in range(2):
                self.turns.later(share, self.work(name, 1.1 * SLICE))
        self.assertEqual(self.turn(), ["a", "b", "c"])
        self.assertEqual(self.turn(), ["d", "e", "a"])
        self.assertEqual(self.turn(), ["b", "c", "d"])
        self.assertEqual(self.turn(), ["e"])

    def test_queued_meanwhile(self) -> None:
        """Calls queued by a call wait for the next turn, also for a lone client."""
        share = self.turns.share_of("a")

        def call() -> None:
            self.done.append("first")
            self.turns.later(share, self.work("second"))

        self.turns.later(share, call)
        self.assertEqual(self.turn(), ["first"])
        self.assertEqual(self.turn(), ["second"])

    def test_cancelled(self) -> None:
        """A call that was cancelled is not made."""
        share = self.turns.share_of("a")
        turn = self.turns.later(share, self.work("1"))
        self.turns.later(share, self.work("2"))
        turn.cancel()
        self.assertEqual(self.turn(), ["2"])

    def test_error(self) -> None:
        """An error in one call leaves the others their turn."""

        def fail() -> None:
            raise ZeroDivisionError

        share = self.turns.share_of("a")
        self.turns.later(share, fail)
        self.turns.later(share, self.work("1"))
        self.turns.later(self.turns.share_of("b"), self.work("2"))
        self.assertRaises(ZeroDivisionError, self.turn)
        self.assertEqual(self.turn(), ["2", "1"])

    def test_end_of_contention(self) -> None:
        """Clients count as active together for some time only."""
        self.assertLess(self.turns.contended_until, self.now)
        self.contend()
        self.assertEqual(self.turns.contended_until, self.now + CONTENDED)

    def test_must_wait(self) -> None:
        """A client waits once it has used its slice, until the window is over."""
        share = Share()
        self.assertFalse(share.must_wait(1.0))
        share.use(SLICE)
        self.assertTrue(share.must_wait(1.0))
        self.assertFalse(share.must_wait(1.001 + WINDOW))

    def test_must_wait_behind_others(self) -> None:
        """A client with a queue waits at its end."""
        share = self.turns.share_of("a")
        self.turns.later(share, self.work("1"))
        self.assertTrue(share.must_wait(self.now + WINDOW))

    def test_requests_at_work(self) -> None:
        """While others are active, some requests of a client are at work at a time."""
        share = self.turns.share_of("a")
        share.at_work = AT_WORK
        self.contend()
        self.assertTrue(share.must_wait(self.now))
        for name in ("1", "2"):
            self.turns.later(share, self.work(name), begins=True)
        self.turns.later(share, self.work("at work"))
        self.assertEqual(self.turn(), ["at work"])
        self.assertEqual(self.calls, [])
        self.assertTrue(share.must_wait(self.now))
        self.turns.done(share)
        self.assertEqual(self.turn(), ["1"])

    def test_requests_at_work_alone(self) -> None:
        """A client alone may have any number of requests at work."""
        share = self.turns.share_of("a")
        share.at_work = AT_WORK
        self.turns.later(share, self.work("1"), begins=True)
        self.assertEqual(self.turn(), ["1"])

    def test_requests_at_work_afterwards(self) -> None:
        """What waited for other requests is served once they are answered."""
        share = self.turns.share_of("a")
        share.at_work = AT_WORK
        self.contend()
        for name in ("1", "2"):
            self.turns.later(share, self.work(name), begins=True)
        self.turn()
        for _ in range(AT_WORK):
            self.turns.done(share)
        self.assertEqual(self.turn(), ["1", "2"])
        self.assertFalse(share.must_wait(self.now + WINDOW))
