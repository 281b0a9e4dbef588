"""The store on a disk."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

import lmdb
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from asciid.errors import (
    AsciidError,
    StorageFailedError,
    StorageFullError,
    StoreClosedError,
)
from asciid.store._aging import FOR_EVER, Aging, Lifetimes
from asciid.store._background import Background
from asciid.store._cache import ByteBoundedCache
from asciid.store._compaction import Compaction
from asciid.store._copying import discard_copy
from asciid.store._discarding import Discarding
from asciid.store._environment import (
    DATA_FILE,
    Environment,
    EnvironmentClosedError,
)
from asciid.store._expiry import Expiry
from asciid.store._health import Health
from asciid.store._interface import IImageReader, IImageStore, IImageWriter
from asciid.store._last_chunks import LastChunks
from asciid.store._operations import AddChunk, Register, Remove
from asciid.store._pending import NO_LIMITS
from asciid.store._queries import (
    count,
    find_complete,
    is_complete,
    measure,
    read_status,
)
from asciid.store._readers import ColdReader, HotReader
from asciid.store._receiving import StagingWriter
from asciid.store._reserve import Reserve, free_bytes, lacks_room
from asciid.store._stats import StoreEvents, StoreStats
from asciid.store._sweeping import has_discarded
from asciid.store._uploads import Unverified
from asciid.store._writer import FileWriter, ReadPool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from asciid.model import ImageSpec, UploadStatus
    from asciid.store._batch import Batch
    from asciid.store._copying import Copied
    from asciid.store._databases import Snapshot
    from asciid.store._operations import Operation
    from asciid.store._pending import PendingLimits
    from asciid.store._queries import Found
    from asciid.store._stats import StoreUsage
    from asciid.store._uploads import Completed
    from asciid.store._writer import IWriterReactor

__all__ = ["LMDBStore"]

ResultT = TypeVar("ResultT")

HOT_IMAGE = 64 * 1024
"""Images up to so many bytes are kept in the cache."""

HOT_OVERHEAD = 768
"""Bytes that one takes there besides its content, measured and rounded up."""


@implementer(IImageStore)
class LMDBStore:
    """
    Images in one LMDB file in the directory `path`.

    With `sync`, what was acknowledged survives a power cut; without, only the
    end of the process.  `map_size` is the address space to begin with, in
    bytes; it grows as needed.  `cache_size` bounds the bytes of small images
    kept in memory.  `lifetimes` says how long things are kept; `expire` must
    be called for it.  Nothing is added while the file system has less than
    `reserve` bytes free; 0 fills it up.  `pending` bounds the uploads under way,
    `max_queue` the bytes that wait to be written.  `clock` tells the time in
    seconds since the epoch, `monotonic` seconds since any moment.
    """

    def __init__(  # noqa: PLR0913 - each has a default, and tests vary each
        self,
        path: Path,
        *,
        reactor: IWriterReactor,
        sync: bool = True,
        lifetimes: Lifetimes = FOR_EVER,
        reserve: int = 0,
        pending: PendingLimits = NO_LIMITS,
        max_queue: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        map_size: int = 1024**3,
        cache_size: int = 32 * 1024 * 1024,
        writer_pool: ThreadPool | None = None,
        read_pool: ThreadPool | None = None,
    ) -> None:
        self._aging = Aging(lifetimes, clock, monotonic)
        self._health = Health("Writing to the storage", monotonic)
        self._reading = Health("Reading from the storage", monotonic)
        self._environment = Environment(
            path,
            sync,
            clock,
            self._aging.stamp,
            map_size,
            health=self._health,
            pending=pending,
        )
        self._pending_limits = pending
        # Of what never came to the writer.
        self._own_events = StoreEvents()
        self._reserve = Reserve(path, reserve, monotonic)
        self._cache: ByteBoundedCache[HotReader] = ByteBoundedCache(
            cache_size, largest=HOT_IMAGE + HOT_OVERHEAD
        )
        # How many images this process has removed.
        self._removals = 0
        self._writer: FileWriter[Batch] = FileWriter(
            self._environment.execute,
            self._recover,
            reactor=reactor,
            pool=writer_pool or ThreadPool(0, 1, name="asciid-writer"),
            max_bytes=max_queue,
        )
        self._reads = ReadPool(
            reactor=reactor,
            pool=read_pool or ThreadPool(0, 3, name="asciid-reader"),
        )
        self._stopping = False
        self._background = Background()
        self._discarding = Discarding(
            self._change, self._background.run, lambda: self._stopping
        )
        self._last_chunks = LastChunks(
            self._query, self._change, discarded=self._discarding.begin
        )
        self._expiry = Expiry(
            self._aging,
            self._query,
            self._writer.submit,
            busy=self._last_chunks.busy,
            removed=self._forget,
        )

    def start(self) -> Deferred[None]:
        """See `IImageStore.start`; the Deferred has fired already."""
        try:
            self._environment.open()
        except lmdb.Error as error:
            return fail(OSError(f"cannot open the storage: {error}"))
        except (AsciidError, OSError):
            return fail()
        # A compaction that was killed has left it: none is under way now.
        discard_copy(self._environment.path)
        self._writer.start()
        self._reads.start()
        self._discarding.begin()
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """See `IImageStore.stop`; the store must have been started."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        # A chunk that was accepted may still turn out to need verification.
        await self._writer.flush()
        await self._background.wait()
        await self._writer.stop()
        await self._reads.stop()
        self._environment.close()

    def count(self) -> Deferred[int]:
        """See `IImageStore.count`."""
        return self._query(count)

    def stats(self) -> StoreStats:
        """See `IImageStore.stats`."""
        events = StoreEvents()
        events.add(self._environment.events)
        events.add(self._own_events)
        operations, size = self._writer.waiting
        uploads, clients = self._environment.tracked
        return StoreStats(
            events=events,
            batch_sizes=self._writer.batch_sizes,
            commit_times=self._writer.commit_times,
            cache_hits=self._cache.hits,
            cache_misses=self._cache.misses,
            cache_bytes=self._cache.used,
            queue_operations=operations,
            max_queue_operations=self._writer.max_operations,
            queue_bytes=size,
            max_queue_bytes=self._writer.max_bytes,
            reads=self._reads.waiting,
            max_reads=self._reads.max_waiting,
            max_uploads=self._pending_limits.total,
            max_client_uploads=self._pending_limits.per_client,
            tracked_uploads=uploads,
            tracked_clients=clients,
        )

    def usage(self) -> Deferred[StoreUsage]:
        """See `IImageStore.usage`."""
        path = self._environment.path

        def measured(snapshot: Snapshot) -> StoreUsage:
            size = (path / DATA_FILE).stat().st_size
            return measure(snapshot, size, free_bytes(path))

        return self._query(measured)

    def register(self, spec: ImageSpec, client: str = "") -> Deferred[None]:
        """See `IImageStore.register`."""
        if self._stopping:
            return fail(StoreClosedError())
        return self._change(Register(spec, client)).addCallback(self._registered)

    def add_chunk(self, sha256: str, chunk_id: int, data: bytes) -> Deferred[bool]:
        """See `IImageStore.add_chunk`."""
        if self._stopping:
            return fail(StoreClosedError())
        # The caller gets a Deferred of its own: what is left to do after the
        # commit must not depend on whether the caller cancels.
        answer: Deferred[bool] = Deferred()
        self._change(AddChunk(sha256, chunk_id, data)).addCallbacks(
            self._chunk_stored,
            answer.errback,
            callbackArgs=(chunk_id, data, answer),
        )
        return answer

    def status(self, sha256: str) -> Deferred[UploadStatus]:
        """See `IImageStore.status`."""
        expires = self._aging.upload_expires
        return self._query(lambda snapshot: read_status(snapshot, sha256, expires))

    def delete(self, sha256: str) -> Deferred[None]:
        """See `IImageStore.delete`."""
        if self._stopping:
            return fail(StoreClosedError())
        return self._background.run(self._delete(sha256))

    def expire(self) -> Deferred[int]:
        """See `IImageStore.expire`."""
        if self._stopping:
            return fail(StoreClosedError())
        return self._background.run(self._expire())

    def compact(self) -> Deferred[Copied]:
        """Give unused room in the file back; see `Compaction.run`."""
        if self._stopping:
            return fail(StoreClosedError())
        return Compaction(
            self._environment, self._writer, self._reads, lambda: self._stopping
        ).run()

    def create(self, sha256: str) -> Deferred[IImageWriter]:
        """See `IImageStore.create`."""
        return self._query(lambda snapshot: is_complete(snapshot, sha256)).addCallback(
            lambda exists: StagingWriter(
                sha256,
                self._change,
                self._received,
                self._background.run,
                rejected=self._rejected,
                exists=exists,
            )
        )

    def open(self, sha256: str) -> Deferred[IImageReader]:
        """See `IImageStore.open`."""
        hot = self._cache.get(sha256)
        # One past its time may have been removed, by another process too.
        if hot is not None and hot.stamp >= self._aging.images_before():
            return succeed(hot)
        return self._query(
            lambda snapshot: find_complete(snapshot, sha256, HOT_IMAGE)
        ).addCallback(self._reader, self._removals)

    def _reader(self, found: Found, removals: int) -> IImageReader:
        if found.content is None:
            return ColdReader(found.spec, found.completed, found.image, self._query)
        reader = HotReader(found.spec, found.completed, found.content, found.stamp)
        # What was looked for before a removal may be what was removed.
        if removals == self._removals:
            self._keep_hot(reader)
        return reader

    def _keep_hot(self, reader: HotReader) -> None:
        size = HOT_OVERHEAD + len(reader.content)
        self._cache.put(reader.spec.sha256, reader, size)

    def _registered(self, completed: Completed | None) -> None:
        """Drop what the batch answers: the caller is told nothing."""

    def _chunk_stored(
        self,
        outcome: Completed | Unverified | None,
        chunk_id: int,
        data: bytes,
        answer: Deferred[bool],
    ) -> None:
        if isinstance(outcome, Unverified):
            finishing = self._last_chunks.finish(outcome, chunk_id, data)
            self._background.run(finishing).addCallback(self._completed).addCallbacks(
                answer.callback, answer.errback
            )
        else:
            answer.callback(self._completed(outcome))

    def _rejected(self) -> None:
        self._own_events.rejected += 1

    def _completed(self, outcome: Completed | None) -> bool:
        if outcome is not None and outcome.content is not None:
            completed, stamp = outcome.completed / 1000, self._aging.stamp()
            self._keep_hot(HotReader(outcome.spec, completed, outcome.content, stamp))
        return outcome is not None

    def _received(self, outcome: Completed | None) -> bool:
        """Take note of an image that came in one go."""
        # A pending upload may have had to go, or what was received.
        self._discarding.begin()
        return self._completed(outcome)

    async def _expire(self) -> int:
        removed = await self._expiry.sweep()
        if await self._query(has_discarded):
            await self._discarding.begin()
        return removed

    async def _delete(self, sha256: str) -> None:
        await self._change(Remove(sha256))
        self._forget(sha256)
        self._discarding.begin()

    def _forget(self, sha256: str) -> None:
        """Serve an image no longer from memory: it was removed."""
        self._removals += 1
        self._cache.discard(sha256)

    def _change(self, operation: Operation) -> Deferred[Any]:
        """Have an operation carried out, if there is room for what it adds."""

        def with_room(batch: Batch) -> Any:  # noqa: ANN401 - the operation's
            self._reserve.check()
            return operation(batch)

        if operation.adds:
            return self._writer.submit(with_room, operation.size)
        return self._writer.submit(operation)

    def _query(self, query: Callable[[Snapshot], ResultT]) -> Deferred[ResultT]:
        """Ask the storage file in a thread."""
        return Deferred.fromCoroutine(self._asked(query))

    async def _asked(self, query: Callable[[Snapshot], ResultT]) -> ResultT:
        while True:
            try:
                answer = await self._reads.run(lambda: self._environment.read(query))
            except lmdb.MapResizedError:
                # Another process has grown the file.  An empty batch meets the
                # same error, and the writer knows when the map can be changed.
                await self._writer.submit(lambda _: None)
            except lmdb.Error as error:
                self._reading.failed(str(error))
                raise StorageFailedError from error
            else:
                self._reading.succeeded()
                return answer

    def _recover(self, error: Exception) -> Deferred[Exception | None]:
        return Deferred.fromCoroutine(self._recovered(error))

    async def _recovered(self, error: Exception) -> Exception | None:
        """Make the environment usable after a batch failed with `error`."""
        await self._reads.hold()
        try:
            if isinstance(error, lmdb.MapFullError | lmdb.MapResizedError):
                self._environment.remap(grow=isinstance(error, lmdb.MapFullError))
                return None
            self._health.failed(str(error))
            full = isinstance(error, lmdb.DiskError) or lacks_room(
                self._environment.path
            )
            self._environment.close()
            self._environment.open()
        except (lmdb.Error, AsciidError, OSError) as unusable:
            self._health.failed(f"it cannot be used: {unusable}")
            return StorageFailedError()
        finally:
            self._reads.release()
        if isinstance(error, EnvironmentClosedError):
            return None
        return StorageFullError() if full else StorageFailedError()
