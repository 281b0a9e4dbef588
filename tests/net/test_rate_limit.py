"""How often each client may do something."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from asciid.net.rate_limit import Rate, RateLimit

EVENTS = st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 3)), max_size=60)


class RateLimitTests(SynchronousTestCase):
    """Token buckets, with a clock that is advanced."""

    def setUp(self) -> None:
        """Allow 3 in 60 seconds."""
        self.clock = Clock()
        self.clock.advance(1_000)
        self.limit = RateLimit(Rate(3, 60), self.clock.seconds)

    def test_burst(self) -> None:
        """A whole period's tokens can be used at once, and then one an interval."""
        for _ in range(3):
            self.assertEqual(self.limit.take("a"), 0)
        self.assertEqual(self.limit.take("a"), 20)
        self.clock.advance(19)
        self.assertEqual(self.limit.take("a"), 1)
        self.clock.advance(1)
        self.assertEqual(self.limit.take("a"), 0)
        self.assertEqual(self.limit.take("a"), 20)

    def test_wait_takes_nothing(self) -> None:
        """Asking takes no token."""
        for _ in range(10):
            self.assertEqual(self.limit.wait("a"), 0)
        self.assertEqual(self.limit.clients, 0)

    def test_refusals_cost_nothing(self) -> None:
        """A client that is refused does not wait longer for asking again."""
        for _ in range(100):
            self.limit.take("a")
        self.assertEqual(self.limit.take("a"), 20)

    def test_each_client(self) -> None:
        """A client does not use another's tokens."""
        for _ in range(4):
            self.limit.take("a")
        self.assertEqual(self.limit.take("b"), 0)

    def test_processes(self) -> None:
        """Several processes together allow no more than one."""
        part = RateLimit(Rate(30, 60), self.clock.seconds, processes=4)
        taken = sum(part.take("a") == 0 for _ in range(100))
        self.assertEqual(taken, 7)
        self.clock.advance(60)
        self.assertEqual(sum(part.take("a") == 0 for _ in range(100)), 7)

    def test_fewer_than_processes(self) -> None:
        """A process whose part is less than one token has one, and waits longer."""
        part = RateLimit(Rate(2, 60), self.clock.seconds, processes=4)
        self.assertEqual(part.take("a"), 0)
        self.assertEqual(part.take("a"), 120)

    def test_bounded(self) -> None:
        """Beyond the number of buckets those that were unused longest are dropped."""
        limit = RateLimit(Rate(1, 60), self.clock.seconds, max_clients=2)
        limit.take("a")
        limit.take("b")
        limit.take("a")
        limit.take("c")
        self.assertEqual(limit.clients, 2)
        self.assertEqual(limit.take("a"), 60)
        self.assertEqual(limit.wait("b"), 0)

    @given(EVENTS, st.integers(1, 7), st.integers(1, 10))
    def test_never_more(
        self, events: list[tuple[str, float]], count: int, seconds: int
    ) -> None:
        """Whatever happens, no window of a period has more than two periods' tokens."""
        clock = Clock()
        limit = RateLimit(Rate(count, seconds), clock.seconds)
        taken: dict[str, list[float]] = {}
        for client, pause in events:
            clock.advance(pause)
            if limit.take(client) == 0:
                taken.setdefault(client, []).append(clock.seconds())
        for times in taken.values():
            for begin in times:
                window = [t for t in times if begin <= t < begin + seconds]
                self.assertLessEqual(len(window), 2 * count)

    @given(EVENTS, st.integers(1, 7), st.integers(1, 10))
    def test_wait_is_enough(
        self, events: list[tuple[str, float]], count: int, seconds: int
    ) -> None:
        """A client that waits as long as it was asked to is served."""
        clock = Clock()
        limit = RateLimit(Rate(count, seconds), clock.seconds)
        for client, pause in events:
            clock.advance(pause)
            wait = limit.take(client)
            if wait:
                clock.advance(wait)
                self.assertEqual(limit.take(client), 0)
