"""Tests of asciid.net.fair_limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from asciid.net.fair_limit import SUSTAINED, FairLimit

if TYPE_CHECKING:
    from collections.abc import Sequence

CAPACITY = 24


@define(eq=False)
class Holder:
    """Holds a part of a limit, and gives it back when it is evicted."""

    limit: FairLimit
    client: str
    gain: float | None = 1.0
    amount: int = 0
    evicted: bool = False

    def eviction_gain(self, _: float) -> float | None:
        """Return the gain that the test set."""
        return self.gain

    def evict(self) -> None:
        """Give back."""
        self.evicted = True
        self.give_back()

    def take(self, amount: int) -> bool:
        """Take units for a holder."""
        taken = self.limit.take(self.client, self, amount)
        if taken:
            self.amount += amount
        return taken

    def give_back(self) -> None:
        """Give all back."""
        self.amount = 0
        self.limit.give_back(self.client, self)


class FairLimitTests(SynchronousTestCase):
    """Sharing a limit."""

    def setUp(self) -> None:
        """Make a limit."""
        self.clock = Clock()
        self.limit = FairLimit(CAPACITY, self.clock.seconds)

    def hold(self, client: str, amount: int, gain: float | None = 1.0) -> Holder:
        """Let a client hold units."""
        holder = Holder(self.limit, client, gain)
        self.assertTrue(holder.take(amount))
        return holder

    def test_alone(self) -> None:
        """A lone client may hold all, and is then refused, and not evicted."""
        first = self.hold("a", CAPACITY - 1)
        self.hold("a", 1)
        self.assertFalse(Holder(self.limit, "a").take(1))
        self.assertFalse(first.evicted)
        self.assertEqual((self.limit.used, self.limit.evictions), (CAPACITY, 0))
        self.assertEqual(self.limit.largest, CAPACITY)

    def test_largest_makes_room(self) -> None:
        """A smaller client evicts the holder with the most gain."""
        holders = [self.hold("a", 6, gain) for gain in (1.0, 3.0, None, 2.0)]
        self.hold("b", 6)
        self.assertEqual([one.evicted for one in holders], [False, True, False, False])
        self.assertEqual(self.limit.evictions, 1)

    def test_largest_is_refused(self) -> None:
        """A client that would hold the most gets nothing from the others."""
        small = self.hold("a", 10)
        self.hold("b", 12)
        self.assertFalse(Holder(self.limit, "b").take(3))
        self.assertFalse(small.evicted)

    def test_equal_clients(self) -> None:
        """Clients with equal shares do not evict each other in turn."""
        self.hold("a", 12)
        self.hold("b", 11)
        self.hold("b", 1)
        self.assertFalse(Holder(self.limit, "b").take(1))
        self.assertFalse(Holder(self.limit, "a").take(1))
        self.assertEqual(self.limit.evictions, 0)

    def test_next_largest(self) -> None:
        """Where the largest cannot lose anything, the next one does."""
        self.hold("a", 12, None)
        second = self.hold("b", 12)
        self.hold("c", 1)
        self.assertTrue(second.evicted)

    def test_nothing_to_evict(self) -> None:
        """If nothing can be evicted, all clients are refused."""
        self.hold("a", CAPACITY, None)
        self.assertFalse(Holder(self.limit, "b").take(1))

    def test_bounded_work(self) -> None:
        """One call evicts a limited number of holders; the next one continues."""
        limit = FairLimit(100, self.clock.seconds)
        for _ in range(100):
            Holder(limit, "a").take(1)
        asking = Holder(limit, "b")
        self.assertFalse(asking.take(32))
        self.assertEqual(limit.evictions, 16)
        self.assertTrue(asking.take(32))

    def test_exhausted(self) -> None:
        """It counts as exhausted while that lasts, and starving if the poor suffer."""
        self.hold("a", CAPACITY)
        for _ in range(12):
            self.assertFalse(self.limit.is_exhausted and self.clock.seconds() < 5)
            Holder(self.limit, "a").take(1)
            self.clock.advance(1)
        self.assertTrue(self.limit.is_exhausted)
        self.assertFalse(self.limit.is_starving)
        self.clock.advance(SUSTAINED)
        self.assertFalse(self.limit.is_exhausted)
        Holder(self.limit, "a").take(1)
        self.assertFalse(self.limit.is_exhausted)

    def test_starving(self) -> None:
        """Refusals of clients within their equal share are noticed."""
        self.hold("a", CAPACITY, None)
        for _ in range(12):
            self.assertFalse(Holder(self.limit, "b").take(1))
            self.clock.advance(1)
        self.assertTrue(self.limit.is_starving)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from("abcd"), st.integers(0, 5), st.integers(0, CAPACITY)
            ),
            max_size=60,
        )
    )
    def test_any_order(self, steps: Sequence[tuple[str, int, int]]) -> None:
        """
        The limit is never passed, and each client gets its equal share.

        Only a client that holds more than the one that asks then would is evicted.
        """
        limit = FairLimit(CAPACITY, self.clock.seconds)
        holders: dict[tuple[str, int], Holder] = {}
        for client, number, amount in steps:
            key = client, number
            holder = holders.setdefault(key, Holder(limit, client, gain=number))
            if not amount:
                holder.give_back()
                continue
            totals = dict.fromkeys("abcd", 0)
            for (name, _), one in holders.items():
                totals[name] += one.amount
                one.evicted = False
            active = {name for name, total in totals.items() if total} | {client}
            wanted = totals[client] + amount
            free = CAPACITY - sum(totals.values())
            taken = holder.take(amount)
            if amount <= free or wanted * len(active) <= CAPACITY:
                self.assertTrue(taken)
            for (name, _), one in holders.items():
                if one.evicted:
                    self.assertGreater(amount, free)
                    self.assertGreater(totals[name], wanted)
            held = sum(one.amount for one in holders.values())
            self.assertEqual(limit.used, held)
            self.assertLessEqual(held, CAPACITY)
