"""Tests of asciid.store.pending."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from asciid.errors import ClientUploadsError
from asciid.store import PendingLimits
from asciid.store.pending import PendingUploads


class PendingUploadsTests(SynchronousTestCase):
    """Bookkeeping of a client at its limit of uploads."""

    def setUp(self) -> None:
        """Let a client have begun as many as it may."""
        self.pending: PendingUploads[int] = PendingUploads(PendingLimits(per_client=3))
        self.pending_keys = {0, 1, 2}
        self.checked: list[int] = []
        for key in self.pending_keys:
            self.pending.started(key, "a")

    def is_refused(self) -> bool:
        """Return whether the client may not begin another."""
        refusal = self.pending.refusal("a", self.is_there)
        self.assertIsInstance(refusal, ClientUploadsError | None)
        return refusal is not None

    def is_there(self, key: int) -> bool:
        """Return whether an upload is pending."""
        self.checked.append(key)
        return key in self.pending_keys

    def test_refused_cheaply(self) -> None:
        """Only the first refusal checks all of its uploads."""
        for _ in range(3):
            self.assertTrue(self.is_refused())
        self.assertEqual(self.checked, [0, 1, 2])

    def test_ended_here(self) -> None:
        """One that ends makes room for one, for which none is checked again."""
        self.assertTrue(self.is_refused())
        self.pending.ended(1)
        self.assertFalse(self.is_refused())
        self.pending.started(3, "a")
        self.assertTrue(self.is_refused())
        self.assertEqual(self.checked, [0, 1, 2])

    def test_ended_elsewhere(self) -> None:
        """Uploads that another process may have ended are checked once each time."""
        self.assertTrue(self.is_refused())
        self.pending_keys.discard(2)
        self.assertTrue(self.is_refused())
        self.pending.invalidate()
        self.assertFalse(self.is_refused())
        self.assertEqual(self.checked, [0, 1, 2] * 2)
        self.assertEqual(self.pending.tracked, (2, 1))

    def test_nothing_left(self) -> None:
        """A client without uploads is dropped, and starts from zero."""
        self.assertTrue(self.is_refused())
        for key in (0, 1, 2):
            self.pending.ended(key)
        self.assertEqual(self.pending.tracked, (0, 0))
        for key in (0, 1, 2):
            self.pending.started(key, "a")
        self.assertTrue(self.is_refused())
        self.assertEqual(self.checked, [0, 1, 2] * 2)

    def test_owned_beside(self) -> None:
        """The uploads of one client are found by any of them, in order."""
        self.pending.started(7, "b")
        self.pending.ended(1)
        self.assertEqual(self.pending.owned_beside(2), [0, 2])
        self.assertEqual(self.pending.owned_beside(7), [7])
