"""Tests of asciid.store.pending."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from asciid.errors import ClientUploadsError
from asciid.store import PendingLimits
from asciid.store.pending import PendingUploads


class PendingUploadsTests(SynchronousTestCase):
    """What is known of a client that has as many uploads as it may."""

    def setUp(self) -> None:
        """Let a client have begun as many as it may."""
        self.pending: PendingUploads[int] = PendingUploads(PendingLimits(per_client=3))
        self.there = {0, 1, 2}
        self.looked: list[int] = []
        for key in self.there:
            self.pending.started(key, "a")

    def is_refused(self) -> bool:
        """Tell whether the client may not begin another."""
        refusal = self.pending.refusal("a", self.is_there)
        self.assertIsInstance(refusal, ClientUploadsError | None)
        return refusal is not None

    def is_there(self, key: int) -> bool:
        """Tell whether an upload is pending."""
        self.looked.append(key)
        return key in self.there

    def test_refused_cheaply(self) -> None:
        """Only the first refusal looks at all of its uploads."""
        for _ in range(3):
            self.assertTrue(self.is_refused())
        self.assertEqual(self.looked, [0, 1, 2])

    def test_ended_here(self) -> None:
        """One that ends makes room for one, for which nothing is looked at again."""
        self.assertTrue(self.is_refused())
        self.pending.ended(1)
        self.assertFalse(self.is_refused())
        self.pending.started(3, "a")
        self.assertTrue(self.is_refused())
        self.assertEqual(self.looked, [0, 1, 2])

    def test_ended_elsewhere(self) -> None:
        """What another process may have ended is looked for, once each time."""
        self.assertTrue(self.is_refused())
        self.there.discard(2)
        self.assertTrue(self.is_refused())
        self.pending.forget()
        self.assertFalse(self.is_refused())
        self.assertEqual(self.looked, [0, 1, 2] * 2)
        self.assertEqual(self.pending.tracked, (2, 1))

    def test_nothing_left(self) -> None:
        """A client without uploads is forgotten, and begins anew."""
        self.assertTrue(self.is_refused())
        for key in (0, 1, 2):
            self.pending.ended(key)
        self.assertEqual(self.pending.tracked, (0, 0))
        for key in (0, 1, 2):
            self.pending.started(key, "a")
        self.assertTrue(self.is_refused())
        self.assertEqual(self.looked, [0, 1, 2] * 2)
