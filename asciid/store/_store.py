"""The image store, over an engine that keeps the bytes."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from asciid.errors import (
    AsciidError,
    ImageNotFoundError,
    StorageFailedError,
    StoreClosedError,
)
from asciid.runtime.cache import OVERHEAD, ByteBoundedCache, footprint
from asciid.store._about_rules import check_about, check_new, check_reason
from asciid.store._brief import BriefQueries
from asciid.store._discarding import Discarding
from asciid.store._expiry import Expiry
from asciid.store._interface import MAX_KEPT, IImageStore, unchanged
from asciid.store._last_chunks import LastChunks
from asciid.store._lifetimes import FOR_EVER
from asciid.store._readers import ColdReader, HotReader
from asciid.store._receiving import StagingWriter
from asciid.store.background import Background
from asciid.store.operations import (
    AddChunk,
    BlockHash,
    Register,
    Remove,
    SetAbout,
    UnblockHash,
    Unverified,
    single_outcome,
)
from asciid.store.queries import (
    FindComplete,
    FindNeighbours,
    FindPrefix,
    IsComplete,
    ListBlocked,
    ListImages,
    MeasureUsage,
    PickRandom,
    ReadAbout,
    ReadBriefStatus,
    ReadStatus,
)
from asciid.store.rules import MAX_LISTED
from asciid.store.stats import StoreEvents

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asciid.model import (
        About,
        AboutRecord,
        BlockedHash,
        Cursor,
        ImageSpec,
        ListedImage,
        NewImage,
        UploadStatus,
    )
    from asciid.store._brief import ICallLater
    from asciid.store._interface import IImageObserver, IImageReader, IImageWriter
    from asciid.store._lifetimes import Lifetimes
    from asciid.store.engine import IEngine
    from asciid.store.operations import AnyOperation, Completed
    from asciid.store.queries import Found
    from asciid.store.stats import StoreHealth, StoreStats, StoreUsage

__all__ = ["HOT_IMAGE", "ImageStore"]

HOT_IMAGE = 64 * 1024
"""Maximum bytes of an image in the cache."""

_OVERHEAD = OVERHEAD + MAX_KEPT
"""Bytes that a cached image takes besides its content."""

UNREADABLE_IMAGES = 20
"""
Different images in a row that cannot be read, from which on reading counts as broken
altogether.
"""


@implementer(IImageStore)
class ImageStore:
    """
    Images that `engine` keeps; the store starts and stops it.

    `cache_size` bounds the bytes of small images kept in memory; with 0 none are kept.
    `lifetimes` are enforced by calls of `expire`.  `observers` receive events of this
    store, but for expiry and events of other processes.  `listed_by_default` is the
    listing policy.
    """

    def __init__(  # noqa: PLR0913 - each has a default, and tests vary each
        self,
        engine: IEngine,
        *,
        reactor: ICallLater,
        lifetimes: Lifetimes = FOR_EVER,
        cache_size: int = 32 * 1024 * 1024,
        observers: Sequence[IImageObserver] = (),
        listed_by_default: bool = True,
    ) -> None:
        self.listed_by_default = listed_by_default
        self._engine = engine
        self._lifetimes = lifetimes
        self._observers = observers
        # Events that the engine does not see.
        self._own_events = StoreEvents()
        self._cache: ByteBoundedCache[HotReader] = ByteBoundedCache(
            cache_size, largest=footprint(HOT_IMAGE, _OVERHEAD)
        )
        self._removals = 0
        """How often images were removed from the cache because they were deleted."""
        # The images that could not be read since one could.
        self._failed_images: set[str] = set()
        self._stopping = False
        self._brief = BriefQueries(engine.ask, reactor)
        # Apart from the others, which must not wait for them.
        self._brief_statuses = BriefQueries(engine.ask, reactor)
        self._background = Background()
        self._discarding = Discarding(
            self._change, self._background.run, lambda: self._stopping
        )
        self._last_chunks = LastChunks(
            engine.ask, self._change, discarded=self._discarding.begin
        )
        self._expiry = Expiry(
            lifetimes, engine.ask, self._change, busy=self._last_chunks.busy
        )

    def start(self) -> Deferred[None]:
        """See `IImageStore.start`."""
        return self._engine.start(self._evict, self._keep_all).addCallback(
            self._started
        )

    def stop(self) -> Deferred[None]:
        """See `IImageStore.stop`; the store must have been started."""
        return Deferred.fromCoroutine(self._stop())

    def stats(self) -> StoreStats:
        """See `IImageStore.stats`."""
        stats = self._engine.stats()
        events = evolve(stats.events)
        events.add(self._own_events)
        return evolve(
            stats,
            events=events,
            cache_hits=self._cache.hits,
            cache_misses=self._cache.misses,
            cache_bytes=self._cache.used,
        )

    def health(self) -> StoreHealth:
        """See `IImageStore.health`."""
        health = self._engine.health()
        return evolve(
            health,
            open=health.open and not self._stopping,
            reads=health.reads and self._reads_images,
        )

    def usage(self) -> Deferred[StoreUsage]:
        """See `IImageStore.usage`."""
        return self._engine.ask(MeasureUsage())

    def register(
        self,
        spec: ImageSpec,
        client: str = "",
        new: NewImage | None = None,
        then: Callable[[None], Any] = unchanged,
    ) -> Deferred[Any]:
        """See `IImageStore.register`."""
        if self._stopping:
            return fail(StoreClosedError())
        try:
            check_new(new)
        except AsciidError:
            return fail()
        registering = Register(spec, client, new, self.listed_by_default)
        return self._engine.apply((registering,), partial(self._registered, then))

    def add_chunk(
        self,
        sha256: str,
        chunk_id: int,
        data: bytes,
        then: Callable[[bool], Any] = unchanged,
    ) -> Deferred[Any]:
        """See `IImageStore.add_chunk`."""
        if self._stopping:
            return fail(StoreClosedError())
        adding = AddChunk(sha256, chunk_id, data)
        return self._engine.apply((adding,), partial(self._chunk_stored, adding, then))

    def status(self, sha256: str) -> Deferred[UploadStatus]:
        """See `IImageStore.status`."""
        query = ReadBriefStatus(sha256, self._lifetimes.upload)
        return self._brief_statuses.ask(query).addCallback(self._status, sha256)

    def delete(self, sha256: str, key_hash: bytes | None = None) -> Deferred[None]:
        """See `IImageStore.delete`."""
        if self._stopping:
            return fail(StoreClosedError())
        return self._background.run(self._delete(sha256, key_hash))

    def expire(self) -> Deferred[int]:
        """See `IImageStore.expire`."""
        if self._stopping:
            return fail(StoreClosedError())
        return self._background.run(self._expire())

    def create(
        self, sha256: str | None, new: NewImage | None = None
    ) -> Deferred[IImageWriter]:
        """See `IImageStore.create`."""
        try:
            check_new(new)
        except AsciidError:
            return fail()
        checking = (
            succeed(False)  # noqa: FBT003 - the result
            if sha256 is None
            else self._brief.ask(IsComplete(sha256))
        )
        return checking.addCallback(
            lambda exists: StagingWriter(
                sha256,
                self._engine.apply,
                self._received,
                self._background.run,
                rejected=self._rejected,
                exists=exists,
                new=new,
                listed=self.listed_by_default,
            )
        )

    def cached(self, sha256: str) -> IImageReader | None:
        """See `IImageStore.cached`."""
        return self._cache.find(sha256) if self._engine.removals_known else None

    def open(self, sha256: str) -> Deferred[IImageReader]:
        """See `IImageStore.open`."""
        if self._engine.removals_known:
            hot = self._cache.get(sha256)
            if hot is not None:
                return succeed(hot)
        return self._brief.ask(FindComplete(sha256, HOT_IMAGE)).addCallbacks(
            self._reader,
            self._unreadable,
            callbackArgs=(self._removals,),
            errbackArgs=(sha256,),
        )

    def about(self, sha256: str) -> Deferred[AboutRecord]:
        """See `IImageStore.about`."""
        return self._brief.ask(ReadAbout(sha256))

    def set_about(
        self,
        sha256: str,
        about: About,
        revision: int | None = None,
        key_hash: bytes | None = None,
    ) -> Deferred[int]:
        """See `IImageStore.set_about`."""
        if self._stopping:
            return fail(StoreClosedError())
        try:
            check_about(about)
        except AsciidError:
            return fail()
        return self._change(SetAbout(sha256, about, revision, key_hash))

    def list_images(
        self, before: Cursor | None, limit: int
    ) -> Deferred[list[ListedImage]]:
        """See `IImageStore.list_images`."""
        return self._engine.ask(ListImages(before, min(limit, MAX_LISTED)))

    def neighbours(
        self, sha256: str
    ) -> Deferred[tuple[ListedImage | None, ListedImage | None]]:
        """See `IImageStore.neighbours`."""
        return self._brief.ask(FindNeighbours(sha256))

    def find(self, prefix: str) -> Deferred[list[tuple[str, bool]]]:
        """See `IImageStore.find`."""
        return self._engine.ask(FindPrefix(prefix))

    def random(self) -> Deferred[str]:
        """See `IImageStore.random`."""
        seed = random.getrandbits(256)
        return self._engine.ask(PickRandom(seed)).addCallback(_drawn)

    def block(self, sha256: str, reason: str) -> Deferred[bool]:
        """See `IImageStore.block`."""
        if self._stopping:
            return fail(StoreClosedError())
        try:
            check_reason(reason)
        except ValueError:
            return fail()
        return self._background.run(self._block(sha256, reason))

    def unblock(self, sha256: str) -> Deferred[bool]:
        """See `IImageStore.unblock`."""
        if self._stopping:
            return fail(StoreClosedError())
        return self._change(UnblockHash(sha256))

    def blocked(
        self, after: str = "", limit: int = MAX_LISTED
    ) -> Deferred[list[BlockedHash]]:
        """See `IImageStore.blocked`."""
        return self._engine.ask(ListBlocked(after, min(limit, MAX_LISTED)))

    def _status(
        self, status: UploadStatus | None, sha256: str
    ) -> UploadStatus | Deferred[UploadStatus]:
        if status is not None:
            return status
        return self._engine.ask(ReadStatus(sha256, self._lifetimes.upload))

    def _started(self, _: None) -> None:
        # Chunks that the previous process has not deleted; their end is not awaited.
        self._discarding.begin()

    async def _stop(self) -> None:
        self._stopping = True
        # A chunk that was accepted may still turn out to need verification.
        await self._engine.drain()
        await self._background.wait()
        await self._engine.stop()

    def _change(self, operation: AnyOperation) -> Deferred[Any]:
        """Apply one operation; return its outcome."""
        return self._engine.apply((operation,), single_outcome)

    @property
    def _reads_images(self) -> bool:
        """Whether images can be read, as far as any were requested."""
        return len(self._failed_images) < UNREADABLE_IMAGES

    def _unreadable(self, failure: Failure, sha256: str) -> Failure:
        """Record that an image cannot be read, if that is the failure."""
        if isinstance(failure.value, StorageFailedError):
            self._own_events.unreadable += 1
            if self._reads_images:
                self._failed_images.add(sha256)
        return failure

    def _reader(self, found: Found, removals: int) -> IImageReader:
        self._failed_images.clear()
        image = found.image
        if found.content is None:
            return ColdReader(image.spec, image.completed, image, self._engine.ask)
        reader = HotReader(image.spec, image.completed, found.content)
        # An image found before a removal may be the removed one.
        if removals == self._removals:
            self._keep_hot(reader)
        return reader

    def _keep_hot(self, reader: HotReader) -> None:
        size = footprint(len(reader.content), _OVERHEAD)
        self._cache.put(reader.spec.sha256, reader, size)

    def _chunk_stored(
        self,
        adding: AddChunk,
        then: Callable[[bool], Any],
        outcomes: Sequence[Any],
    ) -> Any:  # noqa: ANN401 - the result of `then`
        outcome = outcomes[0]
        if outcome is None:
            return then(False)  # noqa: FBT003 - the result
        if isinstance(outcome, Exception):
            return Failure(outcome)
        if type(outcome) is Unverified:
            finishing = self._last_chunks.finish(outcome, adding.chunk_id, adding.data)
            finished = self._background.run(finishing).addCallback(self._completed)
            return finished.addCallback(then)
        return then(self._completed(outcome))

    def _registered(self, then: Callable[[None], Any], outcomes: Sequence[Any]) -> Any:  # noqa: ANN401 - the result of `then`
        outcome = outcomes[0]
        if isinstance(outcome, Exception):
            return Failure(outcome)
        if outcome is not None:
            # An empty image is complete.
            self._report(outcome)
        return then(None)

    def _rejected(self) -> None:
        self._own_events.rejected += 1

    def _completed(self, outcome: Completed | None) -> bool:
        if outcome is None:
            return False
        self._report(outcome)
        self._keep(outcome)
        return True

    def _report(self, image: Completed) -> None:
        for observer in self._observers:
            observer.completed(image.spec)

    def _keep_all(self, images: Sequence[Completed]) -> None:
        for image in images:
            self._keep(image)

    def _keep(self, image: Completed) -> None:
        """Cache an image that became complete, if its content is included."""
        if image.content is not None:
            completed = image.completed / 1000
            self._keep_hot(HotReader(image.spec, completed, image.content))

    def _received(self, outcome: Completed | None) -> bool:
        """Finish the upload of an image that was received in one request."""
        # A pending upload may have been replaced, or the received image discarded.
        self._discarding.begin()
        return self._completed(outcome)

    async def _delete(self, sha256: str, key_hash: bytes | None) -> None:
        await self._change(Remove(sha256, key_hash))
        self._discarding.begin()
        for observer in self._observers:
            observer.deleted(sha256)

    async def _block(self, sha256: str, reason: str) -> bool:
        removed: bool = await self._change(BlockHash(sha256, reason))
        # A reader that is under way finds chunks until they are deleted.
        await self._discarding.begin()
        return removed

    async def _expire(self) -> int:
        removed = await self._expiry.sweep()
        await self._engine.tidy()
        await self._discarding.begin()
        return removed

    def _evict(self, hashes: Sequence[str] | None) -> None:
        """Evict removed images from the cache; None is all images."""
        self._removals += 1
        if hashes is None:
            self._cache.clear()
            return
        for sha256 in hashes:
            self._cache.discard(sha256)


def _drawn(sha256: str | None) -> str:
    if sha256 is None:
        raise ImageNotFoundError
    return sha256
