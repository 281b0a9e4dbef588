"""Deletion of images from the storage file: space, caches and readers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.lmdb._batch import DISCARD_STEP
from asciid.errors import ImageNotFoundError, StoreClosedError
from tests.store._support import DrivenStore, chunk_of, spec_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asciid.engines.lmdb._batch import Batch
    from asciid.engines.lmdb._databases import Snapshot
    from asciid.model import ImageSpec

CAT = b"/\\_/\\\n( o.o )\n >^<\n"
LARGE = bytes(range(256)) * 2000


class DeletingTestCase(SynchronousTestCase):
    """A store, and the records in its file."""

    def setUp(self) -> None:
        """Make a store."""
        self.driven = DrivenStore(self.mktemp())
        self.driven.start()
        self.addCleanup(self.stop)
        self.store = self.driven.store

    def stop(self) -> None:
        """Stop whatever store the test left."""
        self.driven.stop()

    def delete(self, spec: ImageSpec) -> None:
        """Delete an image."""
        self.driven.run(self.store.delete(spec.sha256))

    def assert_absent(self, spec: ImageSpec) -> None:
        """Check that an image cannot be opened."""
        opening = self.store.open(spec.sha256)
        self.assertRaises(ImageNotFoundError, self.driven.run, opening)

    def records(self) -> int:
        """Count the records of all images and uploads."""
        return self.driven.engine._environment.read(
            lambda snapshot: sum(
                snapshot.transaction.stat(database)["entries"]
                for database in (
                    snapshot.databases.images,
                    snapshot.databases.uploads,
                    snapshot.databases.chunks,
                    snapshot.databases.discarded,
                    snapshot.databases.gone,
                )
            )
        )


class DeletingTests(DeletingTestCase):
    """`IImageStore.delete`, over a file."""

    def test_nothing_is_left(self) -> None:
        """A deleted image leaves no record of any kind."""
        done = self.driven.upload(LARGE, 100)
        self.driven.run(self.store.register(spec_of(CAT)))
        self.delete(done)
        self.delete(spec_of(CAT))
        self.driven.settle()
        self.assertEqual(self.records(), 0)

    def test_room_is_used_again(self) -> None:
        """Later uploads reuse the space of deleted images: the file does not grow."""
        sizes = []
        for round_ in range(5):
            self.delete(self.driven.upload(b"%d" % round_ + LARGE * 8, 100_000))
            self.driven.settle()
            sizes.append((self.driven.path / "data.mdb").stat().st_size)
        self.assertGreater(sizes[0], 8 * len(LARGE))
        self.assertLess(sizes[-1], sizes[0] + 1_000_000)

    def test_transactions_are_bounded(self) -> None:
        """However much is deleted at once, no transaction removes more than some."""
        specs = [self.driven.upload(b"%d" % i + LARGE[:3000], 1) for i in range(4)]
        removed: list[int] = []

        def watch(operations: Sequence[Callable[[Batch], object]]) -> Sequence[object]:
            before = self.records()
            outcomes = self.driven.engine._environment.execute(operations)
            removed.append(before - self.records())
            return outcomes

        self.patch(self.driven.engine._writer, "_execute", watch)
        for awaited in [self.store.delete(spec.sha256) for spec in specs]:
            self.driven.run(awaited)
        self.driven.settle()
        self.assertEqual(self.records(), 0)
        self.assertLessEqual(max(removed), DISCARD_STEP + len(specs))

    def test_survives_cancellation(self) -> None:
        """A deletion is carried out even if its Deferred is cancelled."""
        spec = self.driven.upload(CAT)
        deleting = self.store.delete(spec.sha256)
        deleting.addErrback(lambda _: None)
        deleting.cancel()
        self.driven.settle()
        self.assert_absent(spec)

    def test_survives_a_restart(self) -> None:
        """A deleted image stays deleted, and its remaining records are deleted."""
        spec = self.driven.upload(LARGE, 100)
        self.delete(spec)
        self.driven.stop()
        self.driven = DrivenStore(str(self.driven.path))
        self.driven.start()
        self.store = self.driven.store
        self.assert_absent(spec)
        self.assertEqual(self.records(), 0)

    def test_hot_image(self) -> None:
        """A deleted image is evicted from the cache, and the others are not."""
        spec, other = self.driven.upload(CAT), self.driven.upload(CAT * 2)
        self.delete(spec)
        self.assert_absent(spec)
        hits = self.store.stats().cache_hits
        self.assertEqual(self.driven.download(other.sha256), CAT * 2)
        self.assertEqual(self.store.stats().cache_hits, hits + 1)

    def test_read_while_it_is_deleted(self) -> None:
        """An image read before its end and handed over after it is not kept."""
        spec = self.driven.upload(CAT)
        self.store._cache.discard(spec.sha256)
        opening = self.store.open(spec.sha256)
        held: list[tuple[Any, ...]] = []
        patched = self.patch(
            self.driven.reactor, "callFromThread", lambda *call: held.append(call)
        )
        self.driven.reactor.advance(0)
        self.assertTrue(self.driven.read_pool.step())
        patched.restore()
        self.delete(spec)
        self.assertNoResult(opening)
        for call, *arguments in held:
            call(*arguments)
        reader = self.driven.run(opening)
        self.assertEqual(self.driven.run(reader.read(0, len(CAT))), CAT)
        self.assert_absent(spec)

    def test_reader_of_a_large_image(self) -> None:
        """A reader under way fails, or still has the right bytes; never others."""
        spec = self.driven.upload(LARGE, 1_000)
        reader = self.driven.run(self.store.open(spec.sha256))
        self.assertEqual(self.driven.run(reader.read(0, 700)), LARGE[:700])
        self.delete(spec)
        self.driven.settle()
        # Others take the room, the same image in other pieces among them.
        self.driven.upload(LARGE, 999)
        self.driven.upload(LARGE[::-1], 1_000)
        reading = reader.read(700, 5_000)
        self.assertRaises(ImageNotFoundError, self.driven.run, reading)

    def test_last_chunk_under_way(self) -> None:
        """An upload deleted while its last chunk is verified is not found."""
        spec = spec_of(LARGE, 300_000)
        self.driven.run(self.store.register(spec))
        add = partial(self.store.add_chunk, spec.sha256)
        self.driven.run(add(0, chunk_of(LARGE, spec, 0)))
        adding = add(1, chunk_of(LARGE, spec, 1))
        while not self.driven.read_pool.work:
            self.driven.reactor.advance(0)
            self.driven.writer_pool.step()
        deleting = self.store.delete(spec.sha256)
        while not deleting.called:
            self.driven.reactor.advance(0)
            self.driven.writer_pool.step()
        self.assertRaises(ImageNotFoundError, self.driven.run, adding)
        self.assert_absent(spec)


class QuarantineTests(DeletingTestCase):
    """Damaged images that the store of a daemon puts aside."""

    def put_aside(self, spec: ImageSpec) -> bool:
        """Put an image in quarantine."""
        key = bytes.fromhex(spec.sha256)

        def record(snapshot: Snapshot) -> bytes:
            images = snapshot.databases.images
            return bytes(snapshot.transaction.get(key, b"", db=images))

        found = self.driven.engine._environment.read(record)
        completed = int(self.driven.now * 1000)
        return self.driven.run(self.driven.engine.put_aside(key, found, completed))

    def test_put_aside(self) -> None:
        """An image in quarantine is served no more, not from memory either."""
        spec = self.driven.upload(CAT)
        self.assertEqual(self.driven.download(spec.sha256), CAT)
        self.assertTrue(self.put_aside(spec))
        usage = self.driven.run(self.store.usage())
        self.assertEqual((usage.images, usage.quarantined), (0, 1))
        self.assert_absent(spec)
        self.assertFalse(self.put_aside(spec))
        self.driven.upload(CAT)
        self.assertEqual(self.driven.download(spec.sha256), CAT)

    def test_purge(self) -> None:
        """A purge leaves no records."""
        before = self.records()
        for data in (CAT, LARGE):
            self.assertTrue(self.put_aside(self.driven.upload(data, 1_000)))
        self.assertEqual(self.driven.run(self.driven.engine.purge_quarantine()), 2)
        self.assertEqual(self.driven.run(self.driven.engine.purge_quarantine()), 0)
        self.assertEqual(self.records(), before)

    def test_restore(self) -> None:
        """An image restored from quarantine is served again."""
        spec = self.driven.upload(CAT)
        self.assertTrue(self.put_aside(spec))
        self.assert_absent(spec)
        self.assertEqual(self.driven.run(self.driven.engine.restore_quarantine()), 1)
        self.assertEqual(self.driven.download(spec.sha256), CAT)
        self.assertEqual(self.driven.run(self.driven.engine.restore_quarantine()), 0)

    def test_stopped(self) -> None:
        """A store that stops purges nothing, and restores nothing."""
        self.driven.stop()
        self.failureResultOf(self.driven.engine.purge_quarantine(), StoreClosedError)
        self.failureResultOf(self.driven.engine.restore_quarantine(), StoreClosedError)
        self.driven = DrivenStore(str(self.driven.path))
        self.driven.start()
