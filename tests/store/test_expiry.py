"""Expiry of images and uploads in a store."""

from __future__ import annotations

import signal
import subprocess
import sys
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.lmdb import _sweeping
from asciid.engines.lmdb._batch import DISCARD_STEP
from asciid.engines.lmdb._sweeping import PAGE, remove_expired
from asciid.errors import (
    ImageGoneError,
    ImageNotFoundError,
    StorageFailedError,
    StoreClosedError,
)
from asciid.model import ImageSpec
from asciid.store import Lifetimes, _expiry
from asciid.store._expiry import STEP
from asciid.store.operations import Expired, Register, RemoveExpired
from tests.store._support import DrivenStore, spec_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asciid.engines.lmdb._batch import Batch

CAT = b"/\\_/\\\n( o.o )\n >^<\n"
LIFETIMES = Lifetimes(upload=100, image=200)

READS_AND_DIES = """
import lmdb, os, signal, sys
environment = lmdb.open(sys.argv[1])
transaction = environment.begin()
os.kill(os.getpid(), signal.SIGKILL)
"""


class ExpiryTests(SynchronousTestCase):
    """`IImageStore.expire`, over a file."""

    def setUp(self) -> None:
        """Make a store."""
        self.driven = DrivenStore(self.mktemp(), lifetimes=LIFETIMES)
        self.store = self.driven.store
        self.driven.start()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Stop whatever store the test left."""
        self.driven.stop()

    def entries(self, database: str) -> int:
        """Return how many records a database has."""
        return self.driven.run(
            self.driven.engine._reads.read(
                lambda snapshot: snapshot.transaction.stat(
                    getattr(snapshot.databases, database)
                )["entries"]
            )
        )

    def register_many(self, number: int) -> list[ImageSpec]:
        """Register uploads of three bytes each, and store their first byte."""
        specs = [ImageSpec(sha256(b"%d" % i).hexdigest(), 3, 1) for i in range(number)]
        awaited: list[Any] = [self.store.register(spec) for spec in specs]
        awaited += [self.store.add_chunk(spec.sha256, 0, b"x") for spec in specs]
        for one in awaited:
            self.driven.run(one)
        return specs

    def expire(self) -> int:
        """Expire once."""
        return self.driven.run(self.store.expire())

    def test_dead_readers(self) -> None:
        """A process that was killed within a read does not keep pages in use."""
        readers = self.driven.engine._environment._env.readers
        with subprocess.Popen(
            [sys.executable, "-c", READS_AND_DIES, self.driven.path]
        ) as reader:
            self.assertEqual(reader.wait(), -signal.SIGKILL)
        self.assertIn(f" {reader.pid} ", readers())
        self.expire()
        self.assertNotIn(f" {reader.pid} ", readers())

    def test_everything_goes(self) -> None:
        """An expired upload leaves neither chunks nor records."""
        self.register_many(3)
        large = bytes(2 * DISCARD_STEP)
        spec = ImageSpec(spec_of(CAT).sha256, len(large) + 1, 1)
        self.driven.run(self.store.register(spec))
        added = [self.store.add_chunk(spec.sha256, i, b"\0") for i in range(len(large))]
        for awaited in added:
            self.driven.run(awaited)
        self.driven.pass_time(101)
        self.assertEqual(self.expire(), 4)
        for database in ("images", "uploads", "chunks", "discarded", "gone"):
            self.assertEqual(self.entries(database), 0, database)

    def test_room_is_reused(self) -> None:
        """Later uploads reuse the space of expired images: the file does not grow."""
        sizes = []
        for round_ in range(5):
            spec = ImageSpec(sha256(b"%d" % round_).hexdigest(), 5_000_000, 100_000)
            self.driven.run(self.store.register(spec))
            added = [
                self.store.add_chunk(spec.sha256, i, bytes(100_000)) for i in range(45)
            ]
            for awaited in added:
                self.driven.run(awaited)
            self.driven.pass_time(101)
            self.assertEqual(self.expire(), 1)
            sizes.append((self.driven.path / "data.mdb").stat().st_size)
        self.assertGreater(sizes[0], 4_500_000)
        self.assertLess(sizes[-1], sizes[0] + 1_000_000)

    def test_transactions_are_bounded(self) -> None:
        """However much is old, no transaction removes more than some of it."""
        removed: list[int] = []

        def watch(operations: Sequence[Callable[[Batch], object]]) -> Sequence[object]:
            before = records()
            outcomes = self.driven.engine._environment.execute(operations)
            removed.append(before - records())
            return outcomes

        def records() -> int:
            return self.driven.engine._environment.read(
                lambda snapshot: sum(
                    snapshot.transaction.stat(database)["entries"]
                    for database in (
                        snapshot.databases.images,
                        snapshot.databases.uploads,
                        snapshot.databases.chunks,
                    )
                )
            )

        self.register_many(2 * PAGE)
        self.driven.pass_time(101)
        self.patch(self.driven.engine._writer, "_execute", watch)
        self.assertEqual(self.expire(), 2 * PAGE)
        self.assertEqual(sum(removed), 3 * 2 * PAGE)
        self.assertEqual(self.entries("discarded"), 0)
        self.assertLessEqual(max(removed), 2 * STEP + DISCARD_STEP)

    def test_resumes_where_it_stopped(self) -> None:
        """One call scans a bounded number of records, and the next one continues."""
        self.patch(_sweeping, "PAGE", 3)
        self.patch(_expiry, "PAGES", 2)
        specs = self.register_many(7)
        self.driven.pass_time(101)
        self.assertEqual([self.expire() for _ in range(3)], [6, 1, 0])
        specs = self.register_many(7)
        self.driven.pass_time(60)
        for spec in specs[:6]:
            self.driven.run(self.store.add_chunk(spec.sha256, 1, b"y"))
        self.driven.pass_time(60)
        self.assertEqual([self.expire() for _ in range(2)], [0, 1])

    def test_nothing_old_writes_nothing(self) -> None:
        """A search without expired records begins no write transaction."""
        self.register_many(3)
        self.driven.upload(CAT)
        self.patch(self.driven.engine._writer, "_execute", broken)
        self.assertEqual(self.expire(), 0)

    def test_activity_after_the_look(self) -> None:
        """What became active after it was found old stays."""
        first, second = self.register_many(2)
        self.driven.pass_time(101)
        old = [
            Expired(0, first.sha256),
            Expired(1, second.sha256),
            Expired(7, first.sha256),
        ]
        removing = RemoveExpired("uploads", 100, old)
        third = spec_of(b"never")

        def touch_then_remove(batch: Batch) -> int:
            batch.register(Register(third))
            record = batch._memory.uploads[first.sha256]
            batch._touched[record.number] = record
            return remove_expired(batch, removing)

        removed = self.driven.run(self.driven.engine._run(touch_then_remove))
        self.assertEqual(removed, 1)
        self.driven.run(self.store.status(first.sha256))
        gone = self.store.status(second.sha256)
        self.assertRaises(ImageNotFoundError, self.driven.run, gone)
        self.assertEqual(self.driven.run(self.driven.engine.apply([removing])), [0])

    def test_image_that_came_again_after_the_look(self) -> None:
        """An image is only removed if it is the one that was found old."""
        spec = self.driven.upload(CAT)
        number = self.driven.run(
            self.driven.engine._run(lambda batch: batch.find(spec.sha256).number)
        )
        for old in (
            Expired(number + 1, spec.sha256),
            Expired(number, spec_of(b"other").sha256),
            Expired(number, spec.sha256),
        ):
            removing = RemoveExpired("images", 0, [old])
            self.assertEqual(self.driven.run(self.driven.engine.apply([removing])), [0])
        self.assertEqual(self.driven.download(spec.sha256), CAT)

    def test_removed_from_memory(self) -> None:
        """An expired image is served until it is removed, and not from cache then."""
        spec = self.driven.upload(CAT)
        self.driven.pass_time(201)
        self.assertEqual(self.driven.download(spec.sha256), CAT)
        self.assertEqual(self.expire(), 1)
        opening = self.store.open(spec.sha256)
        self.assertRaises(ImageGoneError, self.driven.run, opening)

    def test_storage_that_fails(self) -> None:
        """A failure of the storage fails the call."""
        self.register_many(1)
        self.driven.pass_time(101)

        self.patch(self.driven.engine._writer, "_execute", broken)
        self.assertRaises(StorageFailedError, self.expire)

    def test_stops_at_once(self) -> None:
        """A stop does not wait until all chunks of what expired are deleted."""
        spec = ImageSpec(spec_of(CAT).sha256, 3 * DISCARD_STEP + 1, 1)
        self.driven.run(self.store.register(spec))
        added = [
            self.store.add_chunk(spec.sha256, i, b"\0") for i in range(3 * DISCARD_STEP)
        ]
        for awaited in added:
            self.driven.run(awaited)
        self.driven.pass_time(101)
        expiring = self.store.expire()
        while not self.entries_now("discarded"):
            self.driven.reactor.advance(0)
            self.driven.writer_pool.step()
            self.driven.read_pool.step()
        self.driven.stop()
        self.assertEqual(self.successResultOf(expiring), 1)
        self.failureResultOf(self.store.expire(), StoreClosedError)
        self.driven = DrivenStore(str(self.driven.path))
        self.store = self.driven.store
        self.driven.run(self.store.start())
        self.assertGreater(self.entries_now("chunks"), 0)
        self.driven.settle()
        self.assertEqual(self.entries_now("chunks"), 0)

    def entries_now(self, database: str) -> int:
        """Return how many records a database has, without a turn of anything."""
        return self.driven.engine._environment.read(
            lambda snapshot: snapshot.transaction.stat(
                getattr(snapshot.databases, database)
            )["entries"]
        )


def broken(_: object) -> Sequence[object]:
    """Fail, in the place of `Environment.execute`."""
    raise OSError
