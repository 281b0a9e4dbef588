"""Pending uploads of several nodes, counted in the database."""

from __future__ import annotations

from hashlib import sha256

from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.postgresql._sql_batch import carry_out
from asciid.errors import TooManyUploadsError
from asciid.model import ImageSpec
from asciid.store.operations import Register
from asciid.store.pending import PendingLimits, PendingUploads
from tests.engines._postgresql import clean_database, connect


class SharedLimitTests(SynchronousTestCase):
    """Two nodes that register images alternately."""

    def setUp(self) -> None:
        """Connect to an empty database."""
        clean_database()
        self.connection = connect()
        self.addCleanup(self.connection.close)

    def register(self, pending: PendingUploads[tuple[str, int]], name: str) -> object:
        """Register an image in a transaction of its own; return the outcome."""
        spec = ImageSpec(sha256(name.encode()).hexdigest(), 700, 256)
        with self.connection.pipeline(), self.connection.transaction():
            result = carry_out(self.connection, [Register(spec)], pending, lambda: 1)
        return result.outcomes[0]

    def test_low_limit(self) -> None:
        """A low limit holds for all nodes together, from one batch to the next."""
        limits = PendingLimits(total=3)
        one: PendingUploads[tuple[str, int]] = PendingUploads(limits)
        other: PendingUploads[tuple[str, int]] = PendingUploads(limits)
        self.assertIsNone(self.register(one, "a"))
        self.assertIsNone(self.register(other, "b"))
        self.assertIsNone(self.register(one, "c"))
        for pending in (other, one):
            self.assertIsInstance(self.register(pending, "d"), TooManyUploadsError)

    def test_high_limit(self) -> None:
        """With a high one, other nodes count since the last time that was said."""
        limits = PendingLimits(total=1002)
        one: PendingUploads[tuple[str, int]] = PendingUploads(limits)
        other: PendingUploads[tuple[str, int]] = PendingUploads(limits)
        self.assertIsNone(self.register(one, "a"))
        self.connection.execute(
            "INSERT INTO asciid.image (shard, sha256, upload, size, chunk_size, "
            "piece_size, missing, created, active, listed) "
            "SELECT 0, sha256(number::text::bytea), number, 7, 7, 7, 1, 1, 1, false "
            "FROM generate_series(1, 1001) AS number"
        )
        self.assertIsInstance(self.register(other, "b"), TooManyUploadsError)
        self.assertIsNone(self.register(one, "c"))
        one.invalidate()
        self.assertIsInstance(self.register(one, "d"), TooManyUploadsError)
