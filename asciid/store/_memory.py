"""The store without a disk."""

from __future__ import annotations

import time
from hashlib import sha256 as sha256_of
from typing import TYPE_CHECKING, TypeVar

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from zope.interface import implementer

from asciid.errors import (
    ChunkExistsError,
    HashMismatchError,
    ImageExistsError,
    ImageGoneError,
    ImageIncompleteError,
    ImageNotFoundError,
    StoreClosedError,
)
from asciid.model import ImageSpec, ImageState, UploadStatus
from asciid.runtime.histogram import Histogram
from asciid.store._aging import FOR_EVER, GONE_FOR, Aging, Lifetimes
from asciid.store._checkup import StoreHealth
from asciid.store._interface import IImageReader, IImageStore, IImageWriter
from asciid.store._pending import NO_LIMITS, PendingUploads
from asciid.store._rules import (
    PIECE,
    check_chunk,
    check_empty,
    do_nothing,
    missing_ranges,
)
from asciid.store._stats import (
    BATCH_SIZES,
    COMMIT_TIMES,
    StoreEvents,
    StoreStats,
    StoreUsage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asciid.store._pending import PendingLimits

__all__ = ["MemoryStore"]

ResultT = TypeVar("ResultT")


@define
class _Image:
    """A registered image; `completed` is None while chunks are missing."""

    spec: ImageSpec
    created: float
    stamp: float
    """When it was last changed, as `asciid.store._aging` counts."""
    chunks: dict[int, bytes] = field(factory=dict)
    missing: int = 0
    content: bytes = b""
    completed: float | None = None


@implementer(IImageReader)
@frozen(eq=False)
class _Reader:
    """A complete image."""

    spec: ImageSpec
    completed: float
    content: bytes

    def read(self, start: int, end: int) -> Deferred[bytes]:
        """See `IImageReader.read`."""
        return succeed(self.content[start:end])

    def read_ranges(
        self, ranges: Sequence[tuple[int, int]]
    ) -> Deferred[Sequence[bytes]]:
        """See `IImageReader.read_ranges`."""
        return succeed([self.content[start:end] for start, end in ranges])


@implementer(IImageWriter)
class _Writer:
    """An image that is being received."""

    def __init__(self, sha256: str, store: MemoryStore) -> None:
        self._sha256 = sha256
        self._store = store
        self._content = bytearray()
        self.exists = store.is_complete(sha256)

    def write(self, data: bytes) -> Deferred[None]:
        """See `IImageWriter.write`."""
        self._content += data
        return succeed(None)

    def finish(self) -> Deferred[bool]:
        """See `IImageWriter.finish`."""
        return maybeDeferred(self._finish)

    def abandon(self) -> Deferred[None]:
        """See `IImageWriter.abandon`."""
        self._content.clear()
        return succeed(None)

    def _finish(self) -> bool:
        actual = sha256_of(self._content).hexdigest()
        if actual != self._sha256:
            self._store.event_counts.rejected += 1
            raise HashMismatchError(self._sha256, actual)
        return self._store.adopt(self._sha256, bytes(self._content))


@implementer(IImageStore)
class MemoryStore:
    """
    Images in memory, for tests and for ``--storage :memory:``.

    Everything is gone when the process ends.  `lifetimes` says how long things
    are kept before; `expire` must be called for it.  `pending` bounds the uploads
    under way.  `clock` tells the time in seconds since the epoch, `monotonic`
    seconds since any moment.  `event_counts` has what happened.
    """

    def __init__(
        self,
        *,
        lifetimes: Lifetimes = FOR_EVER,
        pending: PendingLimits = NO_LIMITS,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.event_counts = StoreEvents()
        self.on_complete: Callable[[ImageSpec], object] = do_nothing
        self.on_delete: Callable[[str], object] = do_nothing
        self._limits = pending
        self._clock = clock
        self._aging = Aging(lifetimes, clock, monotonic)
        self._images: dict[str, _Image] = {}
        self._pending: PendingUploads[str] = PendingUploads(pending)
        self._pending.total = 0
        # Hash -> stamp of the removal.
        self._gone: dict[str, float] = {}
        self._stopped = False

    def start(self) -> Deferred[None]:
        """See `IImageStore.start`."""
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """See `IImageStore.stop`."""
        self._stopped = True
        return succeed(None)

    def count(self) -> Deferred[int]:
        """See `IImageStore.count`."""
        return self._answer(lambda: len(self._images))

    def stats(self) -> StoreStats:
        """See `IImageStore.stats`."""
        uploads, clients = self._pending.tracked
        return StoreStats(
            events=evolve(self.event_counts),
            batch_sizes=Histogram(BATCH_SIZES),
            commit_times=Histogram(COMMIT_TIMES),
            max_uploads=self._limits.total,
            max_client_uploads=self._limits.per_client,
            tracked_uploads=uploads,
            tracked_clients=clients,
        )

    def health(self) -> StoreHealth:
        """See `IImageStore.health`; what is in memory cannot fail."""
        return StoreHealth(not self._stopped, writes=True, reads=True, has_room=True)

    def usage(self) -> Deferred[StoreUsage]:
        """See `IImageStore.usage`."""
        return self._answer(self._usage)

    def register(self, spec: ImageSpec, client: str = "") -> Deferred[None]:
        """See `IImageStore.register`."""
        return self._answer(lambda: self._register(spec, client))

    def add_chunk(self, sha256: str, chunk_id: int, data: bytes) -> Deferred[bool]:
        """See `IImageStore.add_chunk`."""
        return self._answer(lambda: self._add_chunk(sha256, chunk_id, data))

    def delete(self, sha256: str) -> Deferred[None]:
        """See `IImageStore.delete`."""
        return self._answer(lambda: self._delete(sha256))

    def expire(self) -> Deferred[int]:
        """See `IImageStore.expire`."""
        return self._answer(self._expire)

    def status(self, sha256: str) -> Deferred[UploadStatus]:
        """See `IImageStore.status`."""
        return self._answer(lambda: self._status(sha256))

    def create(self, sha256: str) -> Deferred[IImageWriter]:
        """See `IImageStore.create`."""
        return self._answer(lambda: _Writer(sha256, self))

    def open(self, sha256: str) -> Deferred[IImageReader]:
        """See `IImageStore.open`."""
        return self._answer(lambda: self._open(sha256))

    def _answer(self, method: Callable[[], ResultT]) -> Deferred[ResultT]:
        def unless_stopped() -> ResultT:
            if self._stopped:
                raise StoreClosedError
            return method()

        return maybeDeferred(unless_stopped)

    def is_complete(self, sha256: str) -> bool:
        """Tell whether an image is there, and complete."""
        image = self._images.get(sha256)
        return image is not None and image.completed is not None

    def adopt(self, sha256: str, content: bytes) -> bool:
        """Keep a whole image; tell whether it is new."""
        if self.is_complete(sha256):
            return False
        now = self._clock()
        pending = self._images.get(sha256)
        if pending is not None:
            self._pending.ended(sha256)
        chunk_size = PIECE if pending is None else pending.spec.chunk_size
        created = now if pending is None else pending.created
        spec = ImageSpec(sha256, len(content), chunk_size)
        self._images[sha256] = _Image(
            spec, created, self._aging.stamp(), content=content, completed=now
        )
        self._tell_complete(spec)
        return True

    def _usage(self) -> StoreUsage:
        pending = self._pending.total or 0
        return StoreUsage(images=len(self._images) - pending, pending=pending)

    def _find(self, sha256: str) -> _Image:
        image = self._images.get(sha256)
        if image is None:
            gone = sha256 in self._gone
            raise ImageGoneError(sha256) if gone else ImageNotFoundError(sha256)
        return image

    def _register(self, spec: ImageSpec, client: str) -> None:
        check_empty(spec)
        if spec.sha256 in self._images:
            raise ImageExistsError(spec.sha256)
        refusal = self._pending.refusal(client, self._images.__contains__)
        if refusal is not None:
            raise refusal
        if spec.size:
            self._pending.started(spec.sha256, client)
        now = self._clock()
        self._images[spec.sha256] = _Image(
            spec,
            now,
            self._aging.stamp(),
            missing=spec.size,
            completed=None if spec.size else now,
        )
        self.event_counts.registered += 1
        if not spec.size:
            self._tell_complete(spec)

    def _add_chunk(self, sha256: str, chunk_id: int, data: bytes) -> bool:
        image = self._find(sha256)
        spec = image.spec
        check_chunk(spec, chunk_id, len(data))
        if image.completed is not None:
            start = chunk_id * spec.chunk_size
            stored: bytes | None = image.content[start : start + len(data)]
        else:
            stored = image.chunks.get(chunk_id)
        if stored is not None:
            raise ChunkExistsError(sha256, chunk_id, identical=stored == data)
        image.chunks[chunk_id] = data
        self.event_counts.chunks += 1
        image.missing -= len(data)
        image.stamp = self._aging.stamp()
        if image.missing:
            return False
        content = b"".join(image.chunks[i] for i in range(spec.chunks))
        actual = sha256_of(content).hexdigest()
        self._pending.ended(sha256)
        if actual != sha256:
            del self._images[sha256]
            self.event_counts.rejected += 1
            raise HashMismatchError(sha256, actual)
        image.chunks.clear()
        image.content = content
        image.completed = self._clock()
        self._tell_complete(spec)
        return True

    def _tell_complete(self, spec: ImageSpec) -> None:
        self.event_counts.completed += 1
        self.on_complete(spec)

    def _delete(self, sha256: str) -> None:
        image = self._find(sha256)
        del self._images[sha256]
        # It may have been gone before it came again.
        self._gone.pop(sha256, None)
        if image.completed is None:
            self._pending.ended(sha256)
        self.event_counts.deleted += 1
        self.on_delete(sha256)

    def _expire(self) -> int:
        uploads, images = self._aging.uploads_before(), self._aging.images_before()
        old = {
            sha256: image
            for sha256, image in self._images.items()
            if image.stamp < (uploads if image.completed is None else images)
        }
        now = self._aging.stamp()
        for sha256, image in old.items():
            del self._images[sha256]
            if image.completed is None:
                self._pending.ended(sha256)
                self.event_counts.expired_uploads += 1
            else:
                self._gone[sha256] = now
                self.event_counts.expired_images += 1
        self._gone = {
            sha256: stamp
            for sha256, stamp in self._gone.items()
            if stamp >= now - GONE_FOR
        }
        return len(old)

    def _status(self, sha256: str) -> UploadStatus:
        image = self._find(sha256)
        if image.completed is not None:
            return UploadStatus(
                image.spec,
                ImageState.COMPLETE,
                received=image.spec.size,
                created=image.created,
                completed=image.completed,
            )
        missing, cut = missing_ranges(
            ((i, i) for i in sorted(image.chunks)), image.spec.chunks
        )
        return UploadStatus(
            image.spec,
            ImageState.PENDING,
            received=image.spec.size - image.missing,
            created=image.created,
            missing=missing,
            missing_cut=cut,
            expires=self._aging.upload_expires(image.stamp),
        )

    def _open(self, sha256: str) -> IImageReader:
        image = self._find(sha256)
        if image.completed is None:
            raise ImageIncompleteError(sha256)
        return _Reader(image.spec, image.completed, image.content)
