"""Reads a storage file that another process writes."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import lmdb
from twisted.internet.defer import Deferred, DeferredLock

from asciid.engines._batching import READERS, ReadPool
from asciid.engines._stamps import Stamps
from asciid.engines.lmdb._environment import Environment
from asciid.engines.lmdb._lookup import measure
from asciid.engines.lmdb._reads import FileReads
from asciid.errors import AsciidError, StorageUnreadableError
from asciid.runtime.threads import FixedThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from twisted.python.threadpool import ThreadPool

    from asciid.engines._batching import IWriterReactor
    from asciid.store.queries import Query
    from asciid.store.stats import StoreUsage

__all__ = ["LMDBReader", "prepare_storage"]

AnswerT = TypeVar("AnswerT")
ResultT = TypeVar("ResultT")

_SMALLEST_MAP = 2**20


def prepare_storage(path: Path, *, sync: bool) -> StoreUsage:
    """
    Create the storage in `path` unless it exists; return its usage.

    This process must have the `StorageLock`.

    Errors: `StoreVersionError`, `OSError`.
    """
    environment = Environment(
        path, sync, time.time, time.time, _SMALLEST_MAP, accepts_old=True
    )
    try:
        environment.open()
        while True:
            try:
                return environment.read(lambda snapshot: measure(snapshot, path))
            except lmdb.MapResizedError:
                environment.remap(grow=False)
    except lmdb.Error as error:
        message = f"cannot open the storage: {error}"
        raise OSError(message) from error
    finally:
        environment.close()


class LMDBReader:
    """
    Answers queries from the storage in `path`, which another process writes.

    The file is not opened before the first `open_file`; queries wait until it is.
    `file_generation` returns a number that becomes another one whenever another file
    may have taken the place of the storage file.  The other parameters are those of
    `LMDBEngine`.
    """

    def __init__(  # noqa: PLR0913 - each has a default, and tests vary each
        self,
        path: Path,
        *,
        reactor: IWriterReactor,
        file_generation: Callable[[], int],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        read_pool: ThreadPool | None = None,
        check_directory: Callable[[], object] = lambda: None,
    ) -> None:
        stamps = Stamps(clock, monotonic)
        # The map follows the file, whatever its size.
        self._environment = Environment(
            path,
            sync=False,
            clock=clock,
            stamp=stamps.now,
            map_size=0,
            readonly=True,
            check_directory=check_directory,
            creates=False,
        )
        self._pool = ReadPool(
            reactor=reactor,
            pool=read_pool or FixedThreadPool(READERS, "asciid-reader"),
        )
        self._reads = FileReads(
            self._environment, self._pool, stamps, self._make_readable
        )
        self._file_generation = file_generation
        # That of the file which is open, from before it was opened.
        self._file = file_generation()
        # Each waits for reads to end: of two at a time, the one that lets them begin
        # again would do so under the other.
        self._changing = DeferredLock()
        # Until the file is open.
        self._pool.hold()

    @property
    def waiting(self) -> int:
        """How many reads are under way or wait."""
        return self._pool.waiting

    @property
    def max_waiting(self) -> int:
        """How many may be."""
        return self._pool.max_waiting

    def start(self) -> None:
        """
        Start the threads, unless they run.

        Errors: `OSError`.
        """
        self._pool.start()

    async def stop(self) -> None:
        """Accept no more queries, finish those under way, and close the file."""
        await self._alone(self._stop)

    def ask(self, query: Query[AnswerT]) -> Deferred[AnswerT]:
        """See `IEngine.ask`."""
        if self._file == self._file_generation():
            return self._reads.ask(query)
        return self._make_readable().addCallback(lambda _: self._reads.ask(query))

    def open_file(self) -> Deferred[None]:
        """
        Open the storage file, anew if it is open; reads wait until it is.

        The file may be another afterwards: nothing is remembered of it.

        Errors: `OSError`, `lmdb.Error`, `StorageMovedError`, `StoreVersionError`,
        `StoreBusyError`, `StoreClosedError`; it is closed then.
        """
        return self._alone(self._open_file)

    def close_file(self) -> Deferred[None]:
        """
        Close the storage file; reads wait until it is opened.

        Errors: `StoreBusyError`, `StoreClosedError`.
        """
        return self._alone(self._close_file)

    def _alone(
        self, change: Callable[[], Coroutine[Deferred[Any], Any, ResultT]]
    ) -> Deferred[ResultT]:
        """Change which file is open, or how it is mapped, one call at a time."""
        done: Deferred[ResultT] = Deferred()
        # A caller that cancels its Deferred must not end the change halfway.
        self._changing.run(lambda: Deferred.fromCoroutine(change())).addCallbacks(
            done.callback, done.errback
        )
        return done

    async def _open_file(self) -> None:
        await self._pool.hold()
        await self._reopen()
        self._pool.release()

    async def _close_file(self) -> None:
        await self._pool.hold()
        await self._pool.call_in_thread(self._environment.close)

    async def _stop(self) -> None:
        await self._pool.stop()
        self._environment.close()

    def _make_readable(self) -> Deferred[object]:
        return self._alone(self._follow)

    async def _follow(self) -> None:
        if not self._environment.is_open:
            # Reads wait until it is, and find all of the file then.
            return
        await self._pool.hold()
        try:
            if self._file == self._file_generation():
                remap = partial(self._environment.remap, grow=False)
                await self._pool.call_in_thread(remap)
            else:
                await self._reopen()
        except (lmdb.Error, OSError, AsciidError) as error:
            raise StorageUnreadableError from error
        finally:
            if self._environment.is_open:
                self._pool.release()

    async def _reopen(self) -> None:
        # In this order: the file may be exchanged at any time.
        self._file = self._file_generation()
        await self._pool.call_in_thread(self._environment.reopen)
