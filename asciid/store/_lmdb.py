"""The store on a disk."""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import lmdb
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from asciid.errors import (
    AsciidError,
    StorageFailedError,
    StorageFullError,
    StoreClosedError,
)
from asciid.runtime.threads import FixedThreadPool
from asciid.store._abandoned import Abandoned
from asciid.store._aging import FOR_EVER, Aging, Lifetimes
from asciid.store._checkup import StoreHealth
from asciid.store._compaction import Compaction
from asciid.store._copying import discard_copy
from asciid.store._disk import DiskStore
from asciid.store._environment import (
    DATA_FILE,
    Environment,
    EnvironmentClosedError,
)
from asciid.store._expiry import Expiry
from asciid.store._generations import Generations
from asciid.store._health import Health
from asciid.store._interface import IImageStore
from asciid.store._lock import StorageLock, StorageMovedError
from asciid.store._operations import Abandon, Probe
from asciid.store._peers import ALONE
from asciid.store._pending import NO_LIMITS
from asciid.store._quarantine import (
    PURGE_STEP,
    deletable,
    purge,
    put_aside,
    restorable,
    restore,
)
from asciid.store._reserve import Reserve, is_full, lacks_room
from asciid.store._sweeping import has_discarded
from asciid.store._writer import READERS, FileWriter, ReadPool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from twisted.python.threadpool import ThreadPool

    from asciid.store._batch import Batch
    from asciid.store._copying import Copied
    from asciid.store._operations import AnyOperation
    from asciid.store._peers import IPeers
    from asciid.store._pending import PendingLimits
    from asciid.store._stats import StoreStats
    from asciid.store._writer import IWriterReactor

__all__ = ["LMDBStore"]

ResultT = TypeVar("ResultT")


@implementer(IImageStore)
class LMDBStore(DiskStore):
    """
    Images in one LMDB file in the directory `path`.

    With `sync`, what was acknowledged survives a power cut; without, only the
    end of the process.  `map_size` is the address space to begin with, in
    bytes; it grows as needed.  `cache_size` bounds the bytes of small images
    kept in memory.  `lifetimes` says how long things are kept; `expire` must
    be called for it.  Nothing is added while the file system has less than
    `reserve` bytes free; 0 fills it up.  `pending` bounds the uploads under way,
    `max_queue` the bytes that wait to be written.  `clock` tells the time in
    seconds since the epoch, `monotonic` seconds since any moment.  `peers` are
    other processes that read the same storage.  `lock` is the ownership of the
    directory, taken at the start and released at the end.  `generations` are shared
    with `peers`.
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
        peers: IPeers = ALONE,
        lock: StorageLock | None = None,
        generations: Generations | None = None,
    ) -> None:
        self.lock = lock or StorageLock(path, sync=sync)
        aging = Aging(lifetimes, clock, monotonic)
        self._health = Health("Writing to the storage", monotonic)
        self._reserve = Reserve(path, reserve, monotonic)
        environment = Environment(
            path,
            sync,
            clock,
            aging.stamp,
            map_size,
            health=self._health,
            pending=pending,
            began=self._reserve.begin,
            check_directory=self.lock.check,
            creates=self.lock.inherited is None,
        )
        reads = ReadPool(
            reactor=reactor,
            pool=read_pool or FixedThreadPool(READERS, "asciid-reader"),
        )
        super().__init__(
            environment,
            reads,
            aging,
            reactor=reactor,
            cache_size=cache_size,
            monotonic=monotonic,
            generations=generations or Generations(),
        )
        self._to_forget: deque[tuple[int, Sequence[str] | None]] = deque()
        self._peers = peers
        self._pending_limits = pending
        self._writer: FileWriter[Batch] = FileWriter(
            self._execute,
            self._recover,
            reactor=reactor,
            pool=writer_pool or FixedThreadPool(1, "asciid-writer"),
            max_bytes=max_queue,
            delivered=self._forget_removed,
            pause=peers.pause,
        )
        self._abandoned = Abandoned(self._writer.submit)
        self._started = False
        self._expiry = Expiry(
            aging,
            self._query,
            self._writer.submit,
            busy=self._last_chunks.busy,
        )

    def start(self) -> Deferred[None]:
        """
        See `IImageStore.start`; the Deferred has fired already.

        This blocks while another owner of the storage is ending: see
        `StorageLock.acquire`.
        """
        try:
            self.lock.acquire()
            # The process before this one may not have announced what it committed.
            self._generations.count_removal()
            self._generations.count_file()
            self._environment.open()
        except lmdb.Error as error:
            self.lock.release()
            return fail(OSError(f"cannot open the storage: {error}"))
        except (AsciidError, OSError):
            self.lock.release()
            return fail()
        # A compaction that was killed has left it: none is under way now.
        discard_copy(self._environment.path)
        try:
            self._start_threads()
        except OSError:
            self._environment.close()
            self.lock.release()
            return fail()
        self._started = True
        # So that the first to ask is told of a disk that is full.
        self._checkup.begin_writing()
        self._discarding.begin()
        return succeed(None)

    def _start_threads(self) -> None:
        self._writer.start()
        try:
            self._reads.start()
        except OSError:
            self._writer.stop()
            raise

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
        self.lock.release()

    def stats(self) -> StoreStats:
        """See `IImageStore.stats`."""
        uploads, clients = self._environment.tracked
        return self._stats(
            self._writer,
            self._environment.events,
            batch_sizes=self._writer.batch_sizes,
            commit_times=self._writer.commit_times,
            max_uploads=self._pending_limits.total,
            max_client_uploads=self._pending_limits.per_client,
            tracked_uploads=uploads,
            tracked_clients=clients,
            reserve_bytes=self._reserve.size,
        )

    def health(self) -> StoreHealth:
        """See `IImageStore.health`."""
        is_open = self._started and not self._stopping
        if is_open:
            self._checkup.begin()
        return StoreHealth(
            is_open,
            writes=not (self._health.failing or self._checkup.writes_hang),
            reads=self._checkup.reads and self._reads_images,
            has_room=self._reserve.has_room,
        )

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
            self._environment,
            self._writer,
            self._reads,
            self._peers,
            self._generations,
            lambda: self._stopping,
        ).run()

    @property
    def identity(self) -> tuple[int, int]:
        """See `identity_of`."""
        return self._environment.identity

    def put_aside(self, digest: bytes, record: bytes) -> Deferred[bool]:
        """
        Put a damaged image in quarantine; see `asciid.store._quarantine.put_aside`.

        Errors: `StoreBusyError`, `StoreClosedError`, those of a commit.
        """
        return self._writer.submit(lambda batch: put_aside(batch, digest, record))

    def purge_quarantine(self) -> Deferred[int]:
        """
        Delete what is in quarantine; answer how many images that were.

        Errors: those of a query, those of a commit.
        """
        if self._stopping:
            return fail(StoreClosedError())
        return self._background.run(self._purge())

    def restore_quarantine(self) -> Deferred[int]:
        """
        Take what is in quarantine out again; answer how many images that were.

        Errors: those of a query, those of a commit.
        """
        if self._stopping:
            return fail(StoreClosedError())
        return self._background.run(self._restore())

    async def _restore(self) -> int:
        keys, restored = await self._query(restorable), 0
        for first in range(0, len(keys), PURGE_STEP):
            some = keys[first : first + PURGE_STEP]
            restored += await self._writer.submit(partial(restore, quarantined=some))
        return restored

    async def _purge(self) -> int:
        entries = list((await self._query(deletable)).items())
        for first in range(0, len(entries), PURGE_STEP):
            some = entries[first : first + PURGE_STEP]
            await self._writer.submit(partial(purge, quarantined=some))
        await self._discarding.begin()
        return len(entries)

    def _execute(
        self, operations: Sequence[Callable[[Batch], object]]
    ) -> Sequence[object]:
        """Do as `Environment.execute`, in the writer's thread."""
        outcomes = self._environment.execute(operations)
        if self._environment.removed:
            self._removed(self._environment.removed)
        return outcomes

    def _removed(self, hashes: Sequence[str] | None) -> None:
        """
        Count that images were removed, or that any may have been if None.

        This is called in the writer's thread, before a removal is acknowledged.
        """
        self._to_forget.append((self._generations.count_removal(), hashes))

    def _forget_removed(self) -> None:
        """
        Have what was removed kept in memory no longer, here and by peers.

        An image that was completed and removed in one batch was kept before.
        """
        while self._to_forget:
            removals, hashes = self._to_forget.popleft()
            self._forget(hashes)
            self._peers.forget(removals, hashes)

    async def _expire(self) -> int:
        # As a read, beside which the environment stays open.
        await self._query(lambda _: self._environment.forget_dead_readers())
        removed = await self._expiry.sweep()
        await self._abandoned.retry()
        if await self._query(has_discarded):
            await self._discarding.begin()
        return removed

    def change_all(self, operations: Sequence[AnyOperation]) -> Deferred[Sequence[Any]]:
        """
        Have operations carried out that came together from another process.

        The Deferred fires once they are committed, with their outcomes; that of
        an operation that failed is an exception.

        Errors: `StoreBusyError`, `StoreClosedError`; nothing was changed then.
        """
        sizes = [operation.size for operation in operations]
        return self._writer.submit_all(
            list(map(self._with_room, operations, sizes)), sum(sizes)
        )

    def _change(self, operation: AnyOperation) -> Deferred[Any]:
        size = operation.size
        return self._writer.submit(self._with_room(operation, size), size)

    def _with_room(self, operation: AnyOperation, size: int) -> Callable[[Batch], Any]:
        """Return what refuses to add `size` bytes where there is no room for it."""
        if not operation.adds:
            if isinstance(operation, Abandon):
                self._abandoned.note(operation.number)
            return self._probe if isinstance(operation, Probe) else operation

        def with_room(batch: Batch) -> Any:  # noqa: ANN401 - the operation's
            self._reserve.take(size)
            return operation(batch)

        return with_room

    def _probe(self, batch: Batch) -> None:
        batch.probe()
        # What it takes itself tells too little: larger ones are refused before.
        self._reserve.take(0)
        if not self._reserve.has_room:
            raise StorageFullError

    def _make_readable(self) -> Deferred[None]:
        # An empty batch meets the same error, and the writer knows when something
        # can be done about it.
        return self._writer.submit(lambda _: None)

    def _recover(self, error: Exception) -> Deferred[Exception | None]:
        return Deferred.fromCoroutine(self._recovered(error))

    async def _recovered(self, error: Exception) -> Exception | None:
        """Make the environment usable after a batch failed with `error`."""
        await self._reads.hold()
        try:
            return await self._writer.call_in_thread(lambda: self._repair(error))
        finally:
            self._reads.release()

    def _repair(self, error: Exception) -> Exception | None:
        """
        Repair the environment, in the writer's thread while nothing is read.

        Return what the batch fails with; None if it is to run again.
        """
        try:
            if isinstance(error, lmdb.MapFullError | lmdb.MapResizedError):
                self._environment.remap(grow=isinstance(error, lmdb.MapFullError))
                return None
            self._health.failed(str(error))
            if isinstance(error, StorageMovedError):
                # What is open can still be read; writes resume once it is back.
                return StorageFailedError()
            full = is_full(error) or lacks_room(self._environment.path / DATA_FILE)
            # What failed may have been committed all the same.
            self._removed(None)
            self._environment.reopen()
        except (lmdb.Error, AsciidError, OSError) as unusable:
            self._health.failed(f"it cannot be used: {unusable}")
            return StorageFullError() if is_full(unusable) else StorageFailedError()
        if isinstance(error, EnvironmentClosedError):
            return None
        return StorageFullError() if full else StorageFailedError()
