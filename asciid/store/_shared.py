"""The store of a process that reads the storage itself and has another write it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import lmdb
from twisted.internet.defer import Deferred, DeferredLock, fail, succeed
from zope.interface import implementer

from asciid.errors import AsciidError, StorageFailedError, StoreClosedError
from asciid.runtime.histogram import Histogram
from asciid.runtime.threads import FixedThreadPool
from asciid.store._aging import FOR_EVER, Aging, Lifetimes
from asciid.store._checkup import StoreHealth
from asciid.store._disk import DiskStore, measure_storage
from asciid.store._environment import Environment
from asciid.store._interface import IImageStore
from asciid.store._stats import BATCH_SIZES, COMMIT_TIMES, StoreEvents, StoreStats
from asciid.store._writer import READERS, ReadPool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from twisted.python.threadpool import ThreadPool

    from asciid.store._databases import Snapshot
    from asciid.store._generations import Generations
    from asciid.store._interface import IImageReader
    from asciid.store._operations import AnyOperation
    from asciid.store._peers import Use
    from asciid.store._stats import StoreUsage
    from asciid.store._uploads import Completed
    from asciid.store._writer import IWriterReactor

__all__ = ["IOperations", "SharedStore", "prepare_storage"]

ResultT = TypeVar("ResultT")

_SMALLEST_MAP = 2**20


def prepare_storage(path: Path, *, sync: bool) -> StoreUsage:
    """
    Create the storage in `path` unless it is there; return what it has.

    This process must have the `StorageLock`.

    Errors: `StoreVersionError`, `OSError`, `lmdb.Error`.
    """
    environment = Environment(path, sync, time.time, time.time, _SMALLEST_MAP)
    environment.open()
    try:
        while True:
            try:
                return environment.read(
                    lambda snapshot: measure_storage(snapshot, path)
                )
            except lmdb.MapResizedError:
                environment.remap(grow=False)
    finally:
        environment.close()


class IOperations(Protocol):
    """The way to the process that writes."""

    max_operations: int
    max_bytes: int

    @property
    def waiting(self) -> tuple[int, int]:
        """The operations that are under way, and the bytes they hold."""

    def submit(self, operation: AnyOperation) -> Deferred[Any]:
        """
        Have an operation carried out; answer its outcome once that is committed.

        Cancelling the Deferred does not take the operation back.

        Errors: those of the operation, `StoreBusyError`, `WriterGoneError`,
        `StoreClosedError`.
        """

    def stop(self) -> Deferred[None]:
        """Take nothing more; answer once all that was taken is answered."""


@implementer(IImageStore)
class SharedStore(DiskStore):
    """
    The images in the directory `path`, which another process writes.

    That process has an `LMDBStore` there, removes expired images, and says what this
    one must know: the receiver calls `catch_up`, `forget`, `keep` and `use`, and `lose`
    when its connection is lost.  Nothing is served from memory until this process has
    caught up with `generations`.  The file is not opened before the first
    ``use("shared")``.  The other parameters are those of `LMDBStore`.
    """

    def __init__(  # noqa: PLR0913 - each has a default, and tests vary each
        self,
        path: Path,
        operations: IOperations,
        *,
        reactor: IWriterReactor,
        generations: Generations,
        lifetimes: Lifetimes = FOR_EVER,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        cache_size: int = 32 * 1024 * 1024,
        read_pool: ThreadPool | None = None,
        check_directory: Callable[[], object] = lambda: None,
    ) -> None:
        aging = Aging(lifetimes, clock, monotonic)
        reads = ReadPool(
            reactor=reactor,
            pool=read_pool or FixedThreadPool(READERS, "asciid-reader"),
        )
        # The map follows the file, whatever its size.
        environment = Environment(
            path,
            sync=False,
            clock=clock,
            stamp=aging.stamp,
            map_size=0,
            readonly=True,
            check_directory=check_directory,
            creates=False,
        )
        super().__init__(
            environment,
            reads,
            aging,
            reactor=reactor,
            cache_size=cache_size,
            monotonic=monotonic,
            generations=generations,
        )
        # The removals that this process has received; None while it receives none.
        self._heard_of: int | None = None
        # The `Generations.files` before the file was opened.
        self._file = generations.files
        self._operations = operations
        # Each waits for reads to end: of two at a time, the one that lets them begin
        # again would do so under the other.
        self._switching = DeferredLock()
        # Until the file is open.
        reads.hold()

    def start(self) -> Deferred[None]:
        """See `IImageStore.start`."""
        try:
            self._reads.start()
        except OSError:
            return fail()
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """See `IImageStore.stop`."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        # What is under way may have more to ask for.
        await self._background.wait()
        await self._operations.stop()
        await self._reads.stop()
        self._environment.close()

    def use(self, how: Use) -> Deferred[None]:
        """
        Use the storage file like that; reads wait while it is closed.

        The file may be another afterwards: nothing is remembered of it.

        Errors: `OSError`, `lmdb.Error`, `StoreVersionError`; it is closed then.
        """
        return self._switching.run(lambda: Deferred.fromCoroutine(self._used(how)))

    async def _used(self, how: Use) -> None:
        await self._reads.hold()
        self._environment.close()
        if how == "shared":
            self._open()
            # So that the first to ask is told what the writer knows.
            self._checkup.begin_writing()
            self._reads.release()

    def keep(self, images: Sequence[Completed]) -> None:
        """Serve small images from memory that another process has received."""
        for image in images:
            self._keep(image)

    def catch_up(self, removals: int) -> None:
        """Serve from memory: this process receives every removal after those."""
        self.forget(removals, None)

    def forget(self, removals: int, hashes: Sequence[str] | None) -> None:
        """See `IPeers.forget`."""
        self._forget(hashes)
        self._heard_of = removals

    def lose(self) -> None:
        """Serve nothing from memory: this process receives no removals."""
        self._heard_of = None

    def open(self, sha256: str) -> Deferred[IImageReader]:
        """See `IImageStore.open`."""
        if self._heard_of != self._generations.removals:
            return self._find(sha256)
        return super().open(sha256)

    def stats(self) -> StoreStats:
        """See `IImageStore.stats`; what is committed is counted by whoever does it."""
        return self._stats(
            self._operations,
            StoreEvents(),
            batch_sizes=Histogram(BATCH_SIZES),
            commit_times=Histogram(COMMIT_TIMES),
        )

    def health(self) -> StoreHealth:
        """See `IImageStore.health`; of the disk it is what the last probe met."""
        checkup = self._checkup
        if not self._stopping:
            checkup.begin()
        return StoreHealth(
            not self._stopping,
            writes=checkup.writes and not checkup.writes_hang,
            reads=checkup.reads and self._reads_images,
            has_room=checkup.has_room,
        )

    def expire(self) -> Deferred[int]:
        """Remove nothing: see `IImageStore.expire` of the process that writes."""
        if self._stopping:
            return fail(StoreClosedError())
        return succeed(0)

    def _change(self, operation: AnyOperation) -> Deferred[Any]:
        return self._operations.submit(operation)

    def _make_readable(self) -> Deferred[None]:
        return self._switching.run(lambda: Deferred.fromCoroutine(self._follow()))

    async def _asked(self, query: Callable[[Snapshot], ResultT]) -> ResultT:
        if self._file != self._generations.files:
            await self._make_readable()
        return await super()._asked(query)

    async def _follow(self) -> None:
        if not self._environment.is_open:
            # Reads wait until it is, and find all of the file then.
            return
        try:
            # Whoever waits for this may leave, and ends it by that.
            await self._reads.hold()
            if self._file == self._generations.files:
                self._environment.remap(grow=False)
            else:
                self._environment.close()
                self._open()
        except (lmdb.Error, OSError, AsciidError) as error:
            raise StorageFailedError from error
        finally:
            if self._environment.is_open:
                self._reads.release()

    def _open(self) -> None:
        # In this order: the file may be exchanged at any time.
        self._file = self._generations.files
        self._environment.open()
