"""Statistics of stores: both count the same things."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from attrs import fields
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.lmdb._reserve import free_bytes
from asciid.errors import AsciidError
from asciid.model import EMPTY_SHA256, ImageSpec
from asciid.store import Lifetimes, PendingLimits, StoreEvents, StoreUsage
from asciid.testing import ManualReactor, MemoryStore, run
from tests.store._support import DrivenStore, spec_of

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from asciid.store import IImageStore

    Base = SynchronousTestCase
else:
    Base = object

CAT = b"/\\_/\\ =^.^="
LIFETIMES = Lifetimes(upload=10, image=100)


class EventsTests(SynchronousTestCase):
    """The counts of events."""

    def test_add(self) -> None:
        """Every count is added."""
        names = [each.name for each in fields(StoreEvents)]
        events = StoreEvents(*range(len(names)))
        events.add(StoreEvents(*range(10, 10 + len(names))))
        self.assertEqual(
            [getattr(events, name) for name in names],
            [10 + 2 * number for number in range(len(names))],
        )


class CountedStore(Base):
    """What every store counts."""

    store: IImageStore
    now = 0.0

    def run_store(self, awaited: Deferred[Any]) -> Any:  # noqa: ANN401 - any result
        """Turn everything until `awaited` fires."""
        raise NotImplementedError

    def refuse(self, awaited: Deferred[Any]) -> None:
        """Turn everything until `awaited` fails."""
        with self.assertRaises(AsciidError):
            self.run_store(awaited)

    def pass_time(self, seconds: float) -> None:
        """Let time go by."""
        raise NotImplementedError

    def usage(self) -> tuple[int, int]:
        """Return how many images there are, and how many uploads."""
        usage: StoreUsage = self.run_store(self.store.usage())
        return usage.images, usage.pending

    def upload(self, data: bytes, spec: ImageSpec) -> None:
        """Send all chunks of a registered image."""
        for i in range(spec.chunks):
            chunk = data[i * spec.chunk_size :][: spec.chunk_size]
            self.run_store(self.store.add_chunk(spec.sha256, i, chunk))

    def receive(self, data: bytes, sha256_hex: str) -> Deferred[bool]:
        """Send an image in one go."""
        writer = self.run_store(self.store.create(sha256_hex))
        self.run_store(writer.write(data))
        finished: Deferred[bool] = writer.finish()
        return finished

    def test_nothing(self) -> None:
        """A new store has seen nothing."""
        self.assertEqual(self.store.stats().events, StoreEvents())
        self.assertEqual(self.usage(), (0, 0))

    def test_chunks(self) -> None:
        """Registrations, chunks and what becomes of the image are counted."""
        spec = spec_of(CAT)
        self.run_store(self.store.register(spec))
        self.assertEqual(self.usage(), (0, 1))
        self.refuse(self.store.register(spec))
        self.upload(CAT, spec)
        self.refuse(self.store.add_chunk(spec.sha256, 0, CAT[:4]))
        self.assertEqual(
            self.store.stats().events, StoreEvents(registered=1, completed=1, chunks=3)
        )
        self.assertEqual(self.usage(), (1, 0))

    def test_empty(self) -> None:
        """An empty image is complete with its registration."""
        self.run_store(self.store.register(ImageSpec(EMPTY_SHA256, 0, 1)))
        self.assertEqual(
            self.store.stats().events, StoreEvents(registered=1, completed=1)
        )
        self.assertEqual(self.usage(), (1, 0))

    def test_rejected(self) -> None:
        """An upload with a wrong hash is counted, in chunks or in one go."""
        wrong = ImageSpec("0" * 64, 1, 1)
        self.run_store(self.store.register(wrong))
        self.refuse(self.store.add_chunk(wrong.sha256, 0, b"x"))
        self.refuse(self.receive(b"x", wrong.sha256))
        self.assertEqual(
            self.store.stats().events, StoreEvents(registered=1, chunks=1, rejected=2)
        )
        self.assertEqual(self.usage(), (0, 0))

    def test_one_go(self) -> None:
        """An image in one go is completed once, also if it was pending."""
        spec = spec_of(CAT)
        self.run_store(self.store.register(spec))
        self.assertTrue(self.run_store(self.receive(CAT, spec.sha256)))
        self.assertFalse(self.run_store(self.receive(CAT, spec.sha256)))
        self.assertEqual(
            self.store.stats().events, StoreEvents(registered=1, completed=1)
        )
        self.assertEqual(self.usage(), (1, 0))

    def test_expired(self) -> None:
        """Uploads and images that expire are counted apart."""
        self.run_store(self.store.register(spec_of(CAT)))
        dog = sha256(b"dog").hexdigest()
        self.run_store(self.receive(b"dog", dog))
        self.pass_time(50)
        self.run_store(self.store.expire())
        self.assertEqual(
            self.store.stats().events,
            StoreEvents(registered=1, completed=1, expired_uploads=1),
        )
        self.pass_time(100)
        self.run_store(self.store.expire())
        self.assertEqual(self.store.stats().events.expired_images, 1)
        self.assertEqual(self.usage(), (0, 0))

    def test_deleted(self) -> None:
        """Each deletion is counted once; a deletion of nothing is not."""
        spec = spec_of(CAT)
        self.run_store(self.store.register(spec))
        self.run_store(self.store.delete(spec.sha256))
        self.run_store(self.receive(CAT, spec.sha256))
        self.run_store(self.store.delete(spec.sha256))
        self.refuse(self.store.delete(spec.sha256))
        self.assertEqual(
            self.store.stats().events,
            StoreEvents(registered=1, completed=1, deleted=2),
        )
        self.assertEqual(self.usage(), (0, 0))

    def test_bounds(self) -> None:
        """The limits of uploads are reported, and the tracked clients."""
        self.run_store(self.store.register(spec_of(CAT), "192.0.2.1"))
        stats = self.store.stats()
        self.assertEqual((stats.max_uploads, stats.max_client_uploads), (5, 2))
        self.assertEqual((stats.tracked_uploads, stats.tracked_clients), (1, 1))

    def test_events_are_a_copy(self) -> None:
        """Returned statistics do not change afterwards."""
        before = self.store.stats()
        self.run_store(self.store.register(spec_of(CAT)))
        self.assertEqual(before.events.registered, 0)


class MemoryStoreTests(CountedStore, SynchronousTestCase):
    """The store without a disk."""

    def setUp(self) -> None:
        """Make one."""
        self.store = MemoryStore(
            lifetimes=LIFETIMES,
            pending=PendingLimits(5, 2),
            clock=lambda: 1_000 + self.now,
            monotonic=lambda: self.now,
        )

    def run_store(self, awaited: Deferred[Any]) -> Any:  # noqa: ANN401 - any result
        """Return a result that is available at once."""
        return run(awaited, ManualReactor())

    def pass_time(self, seconds: float) -> None:
        """Advance the time."""
        self.now += seconds


class LMDBTests(CountedStore, SynchronousTestCase):
    """The store on a disk."""

    def setUp(self) -> None:
        """Make one."""
        self.driven = DrivenStore(
            self.mktemp(),
            lifetimes=LIFETIMES,
            pending=PendingLimits(5, 2),
            max_queue=99,
        )
        self.driven.start()
        self.addCleanup(self.driven.stop)
        self.store = self.driven.store

    def run_store(self, awaited: Deferred[Any]) -> Any:  # noqa: ANN401 - any result
        """Turn the threads."""
        return self.driven.run(awaited)

    def pass_time(self, seconds: float) -> None:
        """Let time go by."""
        self.driven.pass_time(seconds)

    def test_disk(self) -> None:
        """The length of the file and the room on its file system are measured."""
        usage = self.run_store(self.store.usage())
        size = (self.driven.path / "data.mdb").stat().st_size
        self.assertEqual(usage.file_bytes, size)
        self.assertGreater(size, 0)
        free = free_bytes(self.driven.path)
        self.assertApproximates(usage.free_bytes, free, free / 2)

    def test_queue(self) -> None:
        """The queue and the sizes of batches are reported."""
        before = self.store.stats()
        batches = before.batch_sizes.count
        spec = spec_of(CAT)
        registered = self.store.register(spec)
        added = self.store.add_chunk(spec.sha256, 0, CAT[:4])
        stats = self.store.stats()
        self.assertEqual((stats.queue_operations, stats.queue_bytes), (2, 4))
        self.assertEqual(stats.max_queue_bytes, 99)
        self.assertGreater(stats.max_queue_operations or 0, 2)
        self.run_store(registered)
        self.run_store(added)
        stats = self.store.stats()
        self.assertEqual((stats.queue_operations, stats.queue_bytes), (0, 0))
        self.assertEqual(stats.batch_sizes.count, batches + 1)
        self.assertEqual(stats.commit_times.count, batches + 1)

    def test_cache(self) -> None:
        """Cache hits and reads of the file are counted separately."""
        spec = self.driven.upload(CAT)
        self.run_store(self.store.open(spec.sha256))
        self.store.cached(spec.sha256)
        self.assertIsNone(self.store.cached("0" * 64))
        self.refuse(self.store.open("0" * 64))
        stats = self.store.stats()
        self.assertEqual((stats.cache_hits, stats.cache_misses), (2, 1))
        self.assertGreaterEqual(stats.cache_bytes, len(CAT))

    def test_reads(self) -> None:
        """Pending reads are reported."""
        reading = self.store.usage()
        self.assertEqual(self.store.stats().reads, 1)
        self.run_store(reading)
        self.assertEqual(self.store.stats().reads, 0)

    def test_kept_out(self) -> None:
        """Operations that were rolled back are not counted, others are."""

        def break_down(_: object) -> None:
            message = "broken"
            raise RuntimeError(message)

        registered = self.store.register(spec_of(CAT))
        broken = self.driven.engine._run(break_down)
        self.run_store(registered)
        with self.assertRaises(RuntimeError):
            self.run_store(broken)
        self.assertEqual(self.store.stats().events, StoreEvents(registered=1))
