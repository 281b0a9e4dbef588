"""The engine that keeps images in one LMDB file."""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import lmdb
from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from asciid.engines._abandoned import Abandoned
from asciid.engines._batching import (
    READERS,
    BatchWriter,
    ReadPool,
    batching_stats,
    start_threads,
)
from asciid.engines._callbacks import do_nothing
from asciid.engines._engine_probe import EngineProbe
from asciid.engines._fault_log import FaultLog
from asciid.engines._queue_size import QueueSize
from asciid.engines._stamps import Stamps
from asciid.engines.lmdb._compaction import Compaction
from asciid.engines.lmdb._copying import discard_copy
from asciid.engines.lmdb._environment import (
    DATA_FILE,
    Environment,
    EnvironmentClosedError,
)
from asciid.engines.lmdb._format_conversion import Conversion
from asciid.engines.lmdb._lock import StorageLock, StorageMovedError
from asciid.engines.lmdb._peers import ALONE
from asciid.engines.lmdb._quarantine import (
    PURGE_STEP,
    deletable,
    purge,
    put_aside,
    restorable,
    restore,
)
from asciid.engines.lmdb._reads import FileReads
from asciid.engines.lmdb._record_checks import mend
from asciid.engines.lmdb._reserve import Reserve, is_full, lacks_room
from asciid.engines.lmdb._storage_file import StorageUnusableError
from asciid.errors import (
    AsciidError,
    CommitFailedError,
    StorageFailedError,
    StorageFullError,
    StoreClosedError,
)
from asciid.runtime.threads import FixedThreadPool
from asciid.store.background import Background
from asciid.store.engine import IEngine
from asciid.store.operations import (
    Abandon,
    DeleteDiscarded,
    all_outcomes,
    single_outcome,
)
from asciid.store.pending import NO_LIMITS
from asciid.store.stats import StoreHealth, StoreStats

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path

    from twisted.python.threadpool import ThreadPool

    from asciid.engines._batching import IWriterReactor
    from asciid.engines.lmdb._batch import Batch
    from asciid.engines.lmdb._copying import Copied
    from asciid.engines.lmdb._peers import IPeers
    from asciid.engines.lmdb._performing import Task
    from asciid.store.operations import AnyOperation, Completed
    from asciid.store.pending import PendingLimits
    from asciid.store.queries import Query

__all__ = ["LMDBEngine"]

ResultT = TypeVar("ResultT")


@implementer(IEngine)
class LMDBEngine:
    """
    Images in one LMDB file in the directory `path`.

    With `sync`, acknowledged operations survive a power cut; without, only the
    end of the process.  `map_size` is the address space to begin with, in
    bytes; it grows as needed.  Nothing is added while the file system has less than
    `reserve` bytes free; 0 fills it up.  `pending` bounds the uploads under way,
    `max_queue` the bytes that wait to be written.  `clock` returns the time in
    seconds since the epoch, `monotonic` seconds since any moment.  `peers` are
    other processes that read the same storage.  `lock` is the ownership of the
    directory, taken at the start and released at the end.  `converts_listed` is whether
    the images of a storage without a listing, of the old format, are listed.
    """

    def __init__(  # noqa: PLR0913 - each has a default, and tests vary each
        self,
        path: Path,
        *,
        reactor: IWriterReactor,
        sync: bool = True,
        reserve: int = 0,
        pending: PendingLimits = NO_LIMITS,
        max_queue: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        map_size: int = 1024**3,
        writer_pool: ThreadPool | None = None,
        read_pool: ThreadPool | None = None,
        peers: IPeers = ALONE,
        lock: StorageLock | None = None,
        converts_listed: bool = True,
    ) -> None:
        self._converts_listed = converts_listed
        self.lock = lock or StorageLock(path, sync=sync)
        stamps = Stamps(clock, monotonic)
        self._fault_log = FaultLog("writing to the storage", monotonic)
        self._reserve = Reserve(path, reserve, monotonic)
        self._environment = Environment(
            path,
            sync,
            clock,
            stamps.now,
            map_size,
            fault_log=self._fault_log,
            pending=pending,
            reserve=self._reserve,
            check_directory=self.lock.check,
            creates=self.lock.inherited is None,
            accepts_old=True,
        )
        self._pool = ReadPool(
            reactor=reactor,
            pool=read_pool or FixedThreadPool(READERS, "asciid-reader"),
        )
        self._reads = FileReads(
            self._environment, self._pool, stamps, self._make_readable
        )
        self._to_evict: deque[tuple[int, Sequence[str] | None]] = deque()
        self._peers = peers
        self._writer: BatchWriter[Task] = BatchWriter(
            self._execute,
            self._recover,
            reactor=reactor,
            pool=writer_pool or FixedThreadPool(1, "asciid-writer"),
            queue=QueueSize(max_bytes=max_queue),
            monotonic=monotonic,
            delivered=self._evict_removed,
            pause=peers.pause,
        )
        self._abandoned = Abandoned(self._writer.submit)
        self._background = Background()
        self._probe = EngineProbe(self.apply, self.ask, self._background.run, monotonic)
        self._on_removed: Callable[[Sequence[str] | None], object] = do_nothing
        self._started = False
        self._stopping = False

    @property
    def removals_known(self) -> bool:
        """See `IEngine.removals_known`."""
        return not self._to_evict

    def start(
        self,
        on_removed: Callable[[Sequence[str] | None], object],
        on_completed: Callable[[Sequence[Completed]], object],
    ) -> Deferred[None]:
        """
        See `IEngine.start`; the Deferred has fired already, unless it is converted.

        This blocks while another owner of the storage is ending: see
        `StorageLock.acquire`.  `stop` aborts a conversion of the old format, with
        `StoreClosedError`.
        """
        del on_completed  # all images become complete through this process
        self._on_removed = on_removed
        try:
            self.lock.acquire()
            # The previous process may not have announced its last commits.
            self._peers.count_removal()
            self._peers.count_file()
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
            start_threads(self._writer, self._pool)
        except OSError:
            self._environment.close()
            self.lock.release()
            return fail()
        if self._environment.is_old:
            return Deferred.fromCoroutine(self._convert())
        self._begin()
        return succeed(None)

    async def _convert(self) -> None:
        conversion = Conversion(
            self._environment, self._converts_listed, lambda: self._stopping
        )

        async def convert() -> None:
            await self._writer.call_in_thread(conversion.run)

        try:
            await self._writer.run_alone(convert)
        except Exception as error:
            if not self._stopping:
                await self._stop()
            if isinstance(error, lmdb.Error):
                message = f"cannot convert the storage: {error}"
                raise OSError(message) from error
            raise
        if self._stopping:
            raise StoreClosedError
        self._begin()

    def _begin(self) -> None:
        self._started = True
        # So that the first reading of health notices a full disk.
        self._probe.begin_writing()

    def drain(self) -> Deferred[None]:
        """See `IEngine.drain`."""
        self._stopping = True
        return self._writer.submit(()).addBoth(do_nothing)

    def stop(self) -> Deferred[None]:
        """See `IEngine.stop`; `start` must have been called, and not have failed."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        await self._background.wait()
        await self._writer.stop()
        await self._pool.stop()
        self._environment.close()
        self.lock.release()

    def apply(
        self,
        operations: Sequence[AnyOperation],
        then: Callable[[Sequence[Any]], Any] = all_outcomes,
    ) -> Deferred[Any]:
        """See `IEngine.apply`."""
        size = 0
        for operation in operations:
            size += operation.size
            if type(operation) is Abandon:
                self._abandoned.note(operation.number)
        return self._writer.submit(operations, size, then)

    def ask(self, query: Query[ResultT]) -> Deferred[ResultT]:
        """See `IEngine.ask`."""
        return self._reads.ask(query)

    def stats(self) -> StoreStats:
        """See `IEngine.stats`."""
        environment = self._environment
        stats = batching_stats(
            self._writer, self._pool, environment.events, environment.uploads
        )
        return evolve(stats, reserve_bytes=self._reserve.size)

    def health(self) -> StoreHealth:
        """See `IEngine.health`."""
        is_open = self._started and not self._stopping
        if is_open:
            self._probe.begin()
        return StoreHealth(
            is_open,
            writes=not (self._fault_log.failing or self._probe.writes_hang),
            reads=self._probe.reads,
            has_room=self._reserve.has_room,
        )

    def tidy(self) -> Deferred[None]:
        """See `IEngine.tidy`."""
        return Deferred.fromCoroutine(self._tidy())

    async def _tidy(self) -> None:
        # As a read, beside which the environment stays open.
        await self._reads.read(lambda _: self._environment.release_dead_readers())
        await self._abandoned.retry()

    def compact(self) -> Deferred[Copied]:
        """
        Give unused room in the file back; see `Compaction.run`.

        Errors: those of `Compaction.run`, `StorageUnusableError` for `lmdb.Error`.
        """
        if self._stopping:
            return fail(StoreClosedError())
        return (
            Compaction(
                self._environment,
                self._writer,
                self._pool,
                self._peers,
                lambda: self._stopping,
            )
            .run()
            .addErrback(_usable)
        )

    @property
    def identity(self) -> tuple[int, int]:
        """See `identity_of`."""
        return self._environment.identity

    def put_aside(self, digest: bytes, record: bytes, completed: int) -> Deferred[bool]:
        """
        Quarantine a damaged image; see `asciid.engines.lmdb._quarantine.put_aside`.

        Errors: `StoreBusyError`, `StoreClosedError`, those of a commit.
        """
        return self._run(lambda batch: put_aside(batch, digest, record, completed))

    def mend(self, name: str, key: bytes) -> Deferred[bool]:
        """
        Mend a record; see `asciid.engines.lmdb._record_checks.mend`.

        Errors: as `put_aside`.
        """
        return self._run(lambda batch: mend(batch, name, key))

    def purge_quarantine(self) -> Deferred[int]:
        """
        Delete all images in quarantine; return how many.

        Errors: those of a query, those of a commit.
        """
        return self._in_background(self._purge())

    def restore_quarantine(self) -> Deferred[int]:
        """
        Restore all images in quarantine; return how many.

        Errors: those of a query, those of a commit.
        """
        return self._in_background(self._restore())

    def _in_background(
        self, work: Coroutine[Deferred[Any], Any, ResultT]
    ) -> Deferred[ResultT]:
        if self._stopping:
            work.close()
            return fail(StoreClosedError())
        return self._background.run(work)

    def _run(self, function: Callable[[Batch], ResultT]) -> Deferred[ResultT]:
        """Run a function of this engine's own in a transaction."""
        return self._writer.submit((function,), then=single_outcome)

    async def _restore(self) -> int:
        keys, restored = await self._reads.read(restorable), 0
        for first in range(0, len(keys), PURGE_STEP):
            some = keys[first : first + PURGE_STEP]
            restored += await self._run(partial(restore, quarantined=some))
        return restored

    async def _purge(self) -> int:
        entries = list((await self._reads.read(deletable)).items())
        for first in range(0, len(entries), PURGE_STEP):
            some = entries[first : first + PURGE_STEP]
            await self._run(partial(purge, quarantined=some))
        while await self.apply((DeleteDiscarded(),), single_outcome):
            if self._stopping:
                break
        return len(entries)

    def _execute(self, tasks: Sequence[Task]) -> Sequence[object]:
        """Do as `Environment.execute`, in the writer's thread."""
        outcomes = self._environment.execute(tasks)
        if self._environment.removed:
            self._removed(self._environment.removed)
        return outcomes

    def _removed(self, hashes: Sequence[str] | None) -> None:
        """
        Count that images were removed, or that any may have been if None.

        This is called in the writer's thread, before a removal is acknowledged.
        """
        self._to_evict.append((self._peers.count_removal(), hashes))

    def _evict_removed(self) -> None:
        """
        Evict removed images from caches, here and in peers.

        An image that was completed and removed in one batch is cached by now.
        """
        while self._to_evict:
            removals, hashes = self._to_evict.popleft()
            self._on_removed(hashes)
            self._peers.evict(removals, hashes)

    def _make_readable(self) -> Deferred[object]:
        # An empty transaction meets the same error, and the writer recovers from it.
        return self._run(do_nothing)

    def _recover(self, error: Exception) -> Deferred[Exception | None]:
        return Deferred.fromCoroutine(self._recovered(error))

    async def _recovered(self, error: Exception) -> Exception | None:
        """Make the environment usable after a batch failed with `error`."""
        await self._pool.hold()
        try:
            return await self._writer.call_in_thread(lambda: self._repair(error))
        finally:
            self._pool.release()

    def _repair(self, error: Exception) -> Exception | None:
        """
        Repair the environment, in the writer's thread while nothing is read.

        Return the error of the batch; None if it is to run again.
        """
        # A full disk is met by pages that are written before the one that commits.
        failed = CommitFailedError if self._environment.in_doubt else StorageFailedError
        try:
            if isinstance(error, lmdb.MapFullError | lmdb.MapResizedError):
                self._environment.remap(grow=isinstance(error, lmdb.MapFullError))
                return None
            self._fault_log.failed(str(error))
            if isinstance(error, StorageMovedError):
                # Open files can still be read; writes resume once it is back.
                return StorageFailedError()
            # The failed batch may have been committed all the same.
            self._removed(None)
            full = is_full(error) or lacks_room(self._environment.path / DATA_FILE)
            self._environment.reopen()
        except (lmdb.Error, AsciidError, OSError) as unusable:
            self._fault_log.failed(f"it cannot be used: {unusable}")
            return StorageFullError() if is_full(unusable) else failed()
        if isinstance(error, EnvironmentClosedError):
            return None
        return StorageFullError() if full else failed()


def _usable(failure: Failure) -> Failure:
    """Return a failure that hides LMDB's exceptions."""
    if isinstance(failure.value, lmdb.Error):
        return Failure(StorageUnusableError(failure.value))
    return failure
