"""What a store on a disk does, whichever process commits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import lmdb
from twisted.internet.defer import Deferred, fail, succeed

from asciid.errors import StorageFailedError, StoreClosedError
from asciid.store._background import Background
from asciid.store._brief import BriefQueries
from asciid.store._cache import ByteBoundedCache, footprint
from asciid.store._checkup import Checkup
from asciid.store._discarding import Discarding
from asciid.store._environment import DATA_FILE, EnvironmentClosedError
from asciid.store._health import Health
from asciid.store._last_chunks import LastChunks
from asciid.store._operations import AddChunk, Register, Remove
from asciid.store._queries import (
    count,
    find_complete,
    is_complete,
    measure,
    read_status,
)
from asciid.store._readers import ColdReader, HotReader
from asciid.store._receiving import StagingWriter
from asciid.store._reserve import free_bytes
from asciid.store._rules import do_nothing
from asciid.store._stats import StoreEvents, StoreStats
from asciid.store._uploads import Unverified

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from twisted.python.failure import Failure

    from asciid.model import ImageSpec, UploadStatus
    from asciid.store._aging import Aging
    from asciid.store._databases import Snapshot
    from asciid.store._environment import Environment
    from asciid.store._generations import Generations
    from asciid.store._interface import IImageReader, IImageWriter
    from asciid.store._operations import AnyOperation
    from asciid.store._queries import Found
    from asciid.store._stats import StoreUsage
    from asciid.store._uploads import Completed
    from asciid.store._writer import IWriterReactor, ReadPool

__all__ = ["DiskStore", "measure_storage"]

ResultT = TypeVar("ResultT")

HOT_IMAGE = 64 * 1024
"""Images up to so many bytes are kept in the cache."""

UNREADABLE_IMAGES = 20
"""
So many different images that cannot be read, and none between them that can, are no
damage of single images.
"""

HOT_OVERHEAD = 768
"""Bytes that one takes there besides its content, measured and rounded up."""


def measure_storage(snapshot: Snapshot, path: Path) -> StoreUsage:
    """
    Return how much is stored in the directory `path`.

    Errors: `OSError`.
    """
    size = (path / DATA_FILE).stat().st_size
    return measure(snapshot, size, free_bytes(path))


class _Queue(Protocol):
    """Where operations wait: in this process, or on their way to another."""

    max_operations: int
    max_bytes: int

    @property
    def waiting(self) -> tuple[int, int]:
        """The operations that wait, and the bytes they hold."""


class DiskStore(ABC):
    """
    Most of an `IImageStore`: what is read, and what changes are asked for.

    What is read comes from `environment`, in threads of `reads`.  `cache_size`
    bounds the bytes of small images kept in memory, `monotonic` is in seconds.
    `generations` are those of the process that commits.
    """

    def __init__(  # noqa: PLR0913 - each is a collaborator of its own
        self,
        environment: Environment,
        reads: ReadPool,
        aging: Aging,
        *,
        reactor: IWriterReactor,
        cache_size: int,
        monotonic: Callable[[], float],
        generations: Generations,
    ) -> None:
        self._generations = generations
        self._environment = environment
        self._reads = reads
        self._aging = aging
        self._reading = Health("Reading from the storage", monotonic)
        self.on_complete: Callable[[ImageSpec], object] = do_nothing
        self.on_delete: Callable[[str], object] = do_nothing
        # Of what never came to the writer.
        self._own_events = StoreEvents()
        self._cache: ByteBoundedCache[HotReader] = ByteBoundedCache(
            cache_size, largest=footprint(HOT_IMAGE, HOT_OVERHEAD)
        )
        # The images that could not be read since one could.
        self._failed_images: set[str] = set()
        self._stopping = False
        self._brief = BriefQueries(self._query, reactor)
        self._background = Background()
        self._checkup = Checkup(
            self._change, self.count, self._background.run, monotonic
        )
        self._discarding = Discarding(
            self._change, self._background.run, lambda: self._stopping
        )
        self._last_chunks = LastChunks(
            self._query, self._change, discarded=self._discarding.begin
        )

    def _stats(
        self,
        queue: _Queue,
        committed: StoreEvents,
        **more: Any,  # noqa: ANN401 - fields of StoreStats
    ) -> StoreStats:
        """Tell what waits in `queue`, what was `committed`, and what is kept here."""
        events = StoreEvents()
        events.add(committed)
        events.add(self._own_events)
        operations, size = queue.waiting
        return StoreStats(
            events=events,
            cache_hits=self._cache.hits,
            cache_misses=self._cache.misses,
            cache_bytes=self._cache.used,
            queue_operations=operations,
            max_queue_operations=queue.max_operations,
            queue_bytes=size,
            max_queue_bytes=queue.max_bytes,
            reads=self._reads.waiting,
            max_reads=self._reads.max_waiting,
            **more,
        )

    @abstractmethod
    def _change(self, operation: AnyOperation) -> Deferred[Any]:
        """Have an operation carried out; answer once that is committed."""

    @abstractmethod
    def _make_readable(self) -> Deferred[None]:
        """
        Map all of the file, which another process has grown, or open it again.

        Errors: `StorageFailedError`.
        """

    def count(self) -> Deferred[int]:
        """See `IImageStore.count`."""
        return self._query(count)

    def usage(self) -> Deferred[StoreUsage]:
        """See `IImageStore.usage`."""
        path = self._environment.path
        return self._query(lambda snapshot: measure_storage(snapshot, path))

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

    def create(self, sha256: str) -> Deferred[IImageWriter]:
        """See `IImageStore.create`."""
        return self._brief.ask(
            lambda snapshot: is_complete(snapshot, sha256)
        ).addCallback(
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
        # One that has expired may have been removed.
        if hot is not None and hot.stamp >= self._aging.images_before():
            return succeed(hot)
        return self._find(sha256)

    def _find(self, sha256: str) -> Deferred[IImageReader]:
        """Look for an image in the storage file."""
        return self._brief.ask(
            lambda snapshot: find_complete(snapshot, sha256, HOT_IMAGE)
        ).addCallbacks(
            self._reader,
            self._unreadable,
            callbackArgs=(self._generations.removals,),
            errbackArgs=(sha256,),
        )

    @property
    def _reads_images(self) -> bool:
        """Whether images can be read, as far as any were looked for."""
        return len(self._failed_images) < UNREADABLE_IMAGES

    def _unreadable(self, failure: Failure, sha256: str) -> Failure:
        """Note that an image cannot be read, if that is why it was not found."""
        if failure.check(StorageFailedError):
            self._own_events.unreadable += 1
            if self._reads_images:
                self._failed_images.add(sha256)
        return failure

    def _reader(self, found: Found, removals: int) -> IImageReader:
        self._failed_images.clear()
        if found.content is None:
            return ColdReader(found.spec, found.completed, found.image, self._query)
        reader = HotReader(found.spec, found.completed, found.content, found.stamp)
        # What was found before a removal may be what was removed.
        if removals == self._generations.removals:
            self._keep_hot(reader)
        return reader

    def _keep_hot(self, reader: HotReader) -> None:
        size = footprint(len(reader.content), HOT_OVERHEAD)
        self._cache.put(reader.spec.sha256, reader, size)

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

    def _registered(self, outcome: Completed | None) -> None:
        # The caller is told nothing.
        if outcome is not None:
            self.on_complete(outcome.spec)

    def _rejected(self) -> None:
        self._own_events.rejected += 1

    def _completed(self, outcome: Completed | None) -> bool:
        if outcome is None:
            return False
        self.on_complete(outcome.spec)
        self._keep(outcome)
        return True

    def _keep(self, image: Completed) -> None:
        """Serve an image from memory that has become complete, if it is at hand."""
        if image.content is not None:
            completed, stamp = image.completed / 1000, self._aging.stamp()
            self._keep_hot(HotReader(image.spec, completed, image.content, stamp))

    def _received(self, outcome: Completed | None) -> bool:
        """Take note of an image that came in one go."""
        # A pending upload may have had to go, or what was received.
        self._discarding.begin()
        return self._completed(outcome)

    async def _delete(self, sha256: str) -> None:
        await self._change(Remove(sha256))
        self._discarding.begin()
        self.on_delete(sha256)

    def _forget(self, hashes: Sequence[str] | None) -> None:
        """Keep images no longer in memory, or none at all, as they were removed."""
        if hashes is None:
            self._cache.clear()
            return
        for sha256 in hashes:
            self._cache.discard(sha256)

    def _query(self, query: Callable[[Snapshot], ResultT]) -> Deferred[ResultT]:
        """Ask the storage file in a thread."""
        return Deferred.fromCoroutine(self._asked(query))

    async def _asked(self, query: Callable[[Snapshot], ResultT]) -> ResultT:
        while True:
            try:
                answer = await self._reads.run(lambda: self._environment.read(query))
            except (lmdb.MapResizedError, EnvironmentClosedError):
                await self._make_readable()
            except lmdb.Error as error:
                self._reading.failed(str(error))
                raise StorageFailedError from error
            else:
                self._reading.succeeded()
                return answer
