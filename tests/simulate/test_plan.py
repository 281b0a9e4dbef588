"""Tests of the work that a simulation gives itself."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from asciid.simulate._art import Gallery
from asciid.simulate._plan import ONE_FAULT_IN, Piece, Plan, pieces
from asciid.simulate._schedule import Schedule


def work(plan: Plan, seed: int, *, faults: bool) -> list[Piece]:
    """Return the first pieces of a plan, twenty at the most."""
    rng = random.Random(seed)
    dice = random.Random(seed) if faults else None
    return list(islice(pieces(plan, Gallery(rng), rng, dice), 20))


class PiecesTests(SynchronousTestCase):
    """The uploads and their order."""

    @settings(max_examples=8)
    @given(seed=st.integers(0, 2**31), chunk_size=st.integers(1, 5000))
    def test_complete(self, seed: int, chunk_size: int) -> None:
        """Each chunk is sent whole; faults add to that and change no image."""
        plan = Plan(5, chunk_size, 1)
        plain = work(plan, seed, faults=False)
        faulty = work(plan, seed, faults=True)
        self.assertEqual(faulty, work(plan, seed, faults=True))
        self.assertEqual([p.art for p in plain], [p.art for p in faulty])
        for one, other in zip(plain, faulty, strict=True):
            self.assertEqual(one.repeated, frozenset())
            chunks = -(-len(one.art.data) // chunk_size)
            self.assertEqual(sorted(s.chunk_id for s in one.sends), list(range(chunks)))
            added = Counter(other.sends) - Counter(one.sends)
            self.assertEqual(Counter(other.sends), Counter(one.sends) + added)
            self.assertEqual(set(added.values()) - {1}, set())
            self.assertEqual(
                other.repeated, {send.chunk_id for send in added if not send.cut}
            )

    def test_faults(self) -> None:
        """The expected fractions of chunks are cut off and repeated."""
        sends = work(Plan(9, 4, 1), 1, faults=True)
        chunks = sum(len(piece.art.data) / 4 for piece in sends)
        for faults in (
            sum(send.cut for piece in sends for send in piece.sends),
            sum(len(piece.repeated) for piece in sends),
        ):
            self.assertTrue(0.5 < faults / (chunks / ONE_FAULT_IN) < 2)

    def test_number(self) -> None:
        """There are as many as wanted, or no end of them."""
        self.assertEqual(len(work(Plan(3, 256, 1), 1, faults=False)), 3)
        self.assertEqual(len(work(Plan(None, 256, 1), 1, faults=False)), 20)


class ScheduleTests(SynchronousTestCase):
    """When images begin."""

    def test_no_limit(self) -> None:
        """Without limits there is a turn at once, every time."""
        pace = Schedule(Clock(), 0, 0)
        for _ in range(3):
            self.assertTrue(self.successResultOf(Deferred.fromCoroutine(pace.turn())))

    def test_rate(self) -> None:
        """Turns are spaced by the rate; unused time is not credited."""
        clock = Clock()
        pace = Schedule(clock, 4, 0)
        turns = [Deferred.fromCoroutine(pace.turn()) for _ in range(3)]
        began = []
        for turn in turns:
            turn.addCallback(lambda _: began.append(clock.seconds()))
        clock.pump([0.125] * 4)
        self.assertEqual(began, [0, 0.25, 0.5])
        clock.advance(10)
        self.successResultOf(Deferred.fromCoroutine(pace.turn()))
        self.assertNoResult(Deferred.fromCoroutine(pace.turn()))

    def test_duration(self) -> None:
        """After the duration there are no more turns, also at a rate."""
        clock = Clock()
        plain, slow = Schedule(clock, 0, 2), Schedule(clock, 0.75, 2)
        turns = [Deferred.fromCoroutine(slow.turn()) for _ in range(3)]
        clock.advance(1.5)
        self.assertEqual([self.successResultOf(t) for t in turns], [True, True, False])
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(plain.turn())))
        clock.advance(0.5)
        self.assertFalse(self.successResultOf(Deferred.fromCoroutine(plain.turn())))
