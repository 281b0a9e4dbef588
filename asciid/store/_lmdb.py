"""The store on a disk."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

import lmdb
from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from asciid.errors import (
    AsciidError,
    HashMismatchError,
    StorageFailedError,
    StorageFullError,
    StoreClosedError,
)
from asciid.store._batch import Batch, Completed, Unverified
from asciid.store._cache import ByteBoundedCache
from asciid.store._environment import Environment, EnvironmentClosedError
from asciid.store._interface import IImageReader, IImageStore, IImageWriter
from asciid.store._queries import (
    count,
    find_complete,
    hash_with,
    is_complete,
    read_range,
    read_status,
)
from asciid.store._receiving import StagingWriter
from asciid.store._staging import abandon_stale
from asciid.store._writer import FileWriter, ReadPool

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from asciid.model import ImageSpec, UploadStatus
    from asciid.store._databases import Snapshot
    from asciid.store._queries import Found
    from asciid.store._records import ImageRecord
from asciid.store._writer import IWriterReactor

__all__ = ["LMDBStore"]

ResultT = TypeVar("ResultT")

HOT_IMAGE = 64 * 1024
"""Images up to so many bytes are kept in the cache."""

STALE_AFTER = 60 * 60 * 1000
"""
Milliseconds after which an image that was coming in one request, and saw no
byte since, is taken for the remains of a process that was killed.
"""

_log = Logger()


@implementer(IImageReader)
@frozen(eq=False)
class _HotReader:
    """An image that is in memory."""

    spec: ImageSpec
    completed: float
    content: bytes

    def read(self, start: int, end: int) -> Deferred[bytes]:
        """See `IImageReader.read`."""
        return succeed(self.content[start:end])


@implementer(IImageReader)
@frozen(eq=False)
class _ColdReader:
    """An image that is read from the disk piece by piece."""

    spec: ImageSpec
    completed: float
    image: ImageRecord
    query: Callable[[Callable[[Snapshot], bytes]], Deferred[bytes]]
    content: None = None

    def read(self, start: int, end: int) -> Deferred[bytes]:
        """See `IImageReader.read`."""
        return self.query(
            lambda snapshot: read_range(
                snapshot, self.spec.sha256, self.image, start, end
            )
        )


@implementer(IImageStore)
class LMDBStore:
    """
    Images in one LMDB file in the directory `path`.

    With `sync`, what was acknowledged survives a power cut; without, only the
    end of the process.  `map_size` is the address space to begin with, in
    bytes; it grows as needed.  `cache_size` bounds the bytes of small images
    kept in memory.  `clock` tells the time in seconds since the epoch.
    """

    def __init__(  # noqa: PLR0913 - each has a default, and tests vary each
        self,
        path: Path,
        *,
        reactor: IWriterReactor,
        sync: bool = True,
        clock: Callable[[], float] = time.time,
        map_size: int = 1024**3,
        cache_size: int = 32 * 1024 * 1024,
        writer_pool: ThreadPool | None = None,
        read_pool: ThreadPool | None = None,
    ) -> None:
        self._environment = Environment(path, sync, clock, map_size)
        self._cache: ByteBoundedCache[_HotReader] = ByteBoundedCache(
            cache_size, largest=HOT_IMAGE
        )
        self._writer: FileWriter[Batch] = FileWriter(
            self._environment.execute,
            self._recover,
            reactor=reactor,
            pool=writer_pool or ThreadPool(0, 1, name="asciid-writer"),
        )
        self._reads = ReadPool(
            reactor=reactor,
            pool=read_pool or ThreadPool(0, 3, name="asciid-reader"),
        )
        self._stopping = False
        self._background: set[Deferred[Any]] = set()
        # Hash -> who waits for the verification of that image to end.
        self._verifying: dict[str, list[Deferred[None]]] = {}

    def start(self) -> Deferred[None]:
        """See `IImageStore.start`; the Deferred has fired already."""
        try:
            self._environment.open()
        except lmdb.Error as error:
            return fail(OSError(f"cannot open the storage: {error}"))
        except (AsciidError, OSError):
            return fail()
        self._writer.start()
        self._reads.start()
        self._in_background(self._delete_discarded(stale=True))
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """See `IImageStore.stop`; the store must have been started."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        # A chunk that was accepted may still turn out to need verification.
        await self._writer.flush()
        while self._background:
            await DeferredList(list(self._background))
        await self._writer.stop()
        await self._reads.stop()
        self._environment.close()

    def count(self) -> Deferred[int]:
        """See `IImageStore.count`."""
        return self._query(count)

    def register(self, spec: ImageSpec) -> Deferred[None]:
        """See `IImageStore.register`."""
        if self._stopping:
            return fail(StoreClosedError())
        return self._writer.submit(lambda batch: batch.register(spec)).addCallback(
            self._registered
        )

    def add_chunk(self, sha256: str, chunk_id: int, data: bytes) -> Deferred[bool]:
        """See `IImageStore.add_chunk`."""
        if self._stopping:
            return fail(StoreClosedError())
        # The caller gets a Deferred of its own: what is left to do after the
        # commit must not depend on whether the caller cancels.
        answer: Deferred[bool] = Deferred()
        self._writer.submit(
            lambda batch: batch.add_chunk(sha256, chunk_id, data), len(data)
        ).addCallbacks(
            self._chunk_stored,
            answer.errback,
            callbackArgs=(chunk_id, data, answer),
        )
        return answer

    def status(self, sha256: str) -> Deferred[UploadStatus]:
        """See `IImageStore.status`."""
        return self._query(lambda snapshot: read_status(snapshot, sha256))

    def create(self, sha256: str) -> Deferred[IImageWriter]:
        """See `IImageStore.create`."""
        return self._query(lambda snapshot: is_complete(snapshot, sha256)).addCallback(
            lambda exists: StagingWriter(
                sha256,
                self._writer.submit,
                self._received,
                self._in_background,
                exists=exists,
            )
        )

    def open(self, sha256: str) -> Deferred[IImageReader]:
        """See `IImageStore.open`."""
        hot = self._cache.get(sha256)
        if hot is not None:
            return succeed(hot)
        return self._query(
            lambda snapshot: find_complete(snapshot, sha256, HOT_IMAGE)
        ).addCallback(self._reader)

    def _reader(self, found: Found) -> IImageReader:
        if found.content is None:
            return _ColdReader(found.spec, found.completed, found.image, self._query)
        return self._keep_hot(found.spec, found.completed, found.content)

    def _keep_hot(
        self, spec: ImageSpec, completed: float, content: bytes
    ) -> _HotReader:
        reader = _HotReader(spec, completed, content)
        self._cache.put(spec.sha256, reader, len(content))
        return reader

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
            self._in_background(self._verify(outcome, chunk_id, data)).addCallbacks(
                answer.callback, answer.errback
            )
        else:
            answer.callback(self._completed(outcome))

    def _completed(self, outcome: Completed | None) -> bool:
        if outcome is not None and outcome.content is not None:
            self._keep_hot(outcome.spec, outcome.completed / 1000, outcome.content)
        return outcome is not None

    def _received(self, outcome: Completed | None) -> bool:
        """Take note of an image that came in one go."""
        # A pending upload may have had to go, or what was received.
        self._in_background(self._delete_discarded())
        return self._completed(outcome)

    async def _verify(self, upload: Unverified, chunk_id: int, data: bytes) -> bool:
        """Hash an image outside of the transaction, then store its last chunk."""
        outcome: Completed | Unverified | None = upload
        while isinstance(outcome, Unverified):
            waiting = self._verifying.get(upload.spec.sha256)
            if waiting is None:
                outcome = await self._verify_now(outcome, chunk_id, data)
            else:
                ended: Deferred[None] = Deferred()
                waiting.append(ended)
                await ended
                outcome = await self._writer.submit(
                    lambda batch: batch.add_chunk(upload.spec.sha256, chunk_id, data),
                    len(data),
                )
        return self._completed(outcome)

    async def _verify_now(
        self, upload: Unverified, chunk_id: int, data: bytes
    ) -> Completed | Unverified | None:
        waiting = self._verifying[upload.spec.sha256] = []
        try:
            actual = await self._query(
                lambda snapshot: hash_with(snapshot, upload, chunk_id, data)
            )
            return await self._writer.submit(
                lambda batch: batch.finish(upload, chunk_id, data, actual), len(data)
            )
        except HashMismatchError:
            self._in_background(self._delete_discarded())
            raise
        finally:
            del self._verifying[upload.spec.sha256]
            for ended in waiting:
                ended.callback(None)

    async def _delete_discarded(self, *, stale: bool = False) -> None:
        """Delete the chunks of discarded uploads, some in each batch."""
        try:
            if stale:
                await self._writer.submit(
                    lambda batch: abandon_stale(batch, batch.now - STALE_AFTER)
                )
            while await self._writer.submit(lambda batch: batch.delete_discarded()):
                pass
        except AsciidError as error:
            # They take room until the next start, and nothing else.
            _log.warn("Discarded chunks are not deleted yet: {error}", error=error)

    def _in_background(
        self, work: Coroutine[Deferred[Any], Any, ResultT]
    ) -> Deferred[ResultT]:
        """Do work that `stop` waits for, and that no cancelling ends."""
        answer: Deferred[ResultT] = Deferred()
        ended: Deferred[None] = Deferred()
        self._background.add(ended)

        async def tracked() -> ResultT:
            try:
                return await work
            finally:
                self._background.discard(ended)
                ended.callback(None)

        Deferred.fromCoroutine(tracked()).addCallbacks(answer.callback, answer.errback)
        return answer

    def _query(self, query: Callable[[Snapshot], ResultT]) -> Deferred[ResultT]:
        """Ask the storage file in a thread."""
        return Deferred.fromCoroutine(self._asked(query))

    async def _asked(self, query: Callable[[Snapshot], ResultT]) -> ResultT:
        while True:
            try:
                return await self._reads.run(lambda: self._environment.read(query))
            except lmdb.MapResizedError:
                # Another process has grown the file.  An empty batch meets the
                # same error, and the writer knows when the map can be changed.
                await self._writer.submit(lambda _: None)
            except lmdb.Error as error:
                _log.failure("A read of the storage failed")
                raise StorageFailedError from error

    def _recover(self, error: Exception) -> Deferred[Exception | None]:
        return Deferred.fromCoroutine(self._recovered(error))

    async def _recovered(self, error: Exception) -> Exception | None:
        """Make the environment usable after a batch failed with `error`."""
        await self._reads.hold()
        try:
            if isinstance(error, lmdb.MapFullError | lmdb.MapResizedError):
                self._environment.remap(grow=isinstance(error, lmdb.MapFullError))
                return None
            _log.error("A commit failed: {error}", error=error)
            self._environment.close()
            self._environment.open()
        except (lmdb.Error, AsciidError, OSError) as unusable:
            _log.error("The storage cannot be used: {error}", error=unusable)
            return StorageFailedError()
        finally:
            self._reads.release()
        if isinstance(error, EnvironmentClosedError):
            return None
        full = isinstance(error, lmdb.DiskError)
        return StorageFullError() if full else StorageFailedError()
