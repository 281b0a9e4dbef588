"""Images in dictionaries, with operations and queries on them."""

from __future__ import annotations

from bisect import bisect_left, insort
from hashlib import sha256 as sha256_of
from itertools import takewhile
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

from attrs import define, evolve
from msgspec import structs

from asciid.errors import (
    AsciidError,
    ChunkExistsError,
    HashMismatchError,
    ImageBlockedError,
    ImageExistsError,
    ImageGoneError,
    ImageIncompleteError,
    ImageNotFoundError,
    StorageFailedError,
)
from asciid.model import (
    About,
    AboutRecord,
    BlockedHash,
    ImageSpec,
    ImageState,
    ListedImage,
    UploadStatus,
)
from asciid.store import operations, queries
from asciid.store.operations import Completed, Expired, Unverified
from asciid.store.pending import PendingUploads
from asciid.store.queries import ExpiredPage, Found, StoredImage
from asciid.store.rules import (
    MAX_FOUND,
    PIECE,
    check_chunk,
    check_empty,
    check_key,
    check_revision,
    keeps_record,
    missing_ranges,
    record_of,
)
from asciid.store.stats import StoreEvents, StoreUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from asciid.engines._stamps import Stamps
    from asciid.store.operations import Operation
    from asciid.store.pending import PendingLimits
    from asciid.store.queries import Query

__all__ = ["Images", "Task"]

Task: TypeAlias = "Operation | Query[Any]"

OrderedT = TypeVar("OrderedT", str, "_Place")

HASH_AT_ONCE = 256 * 1024
"""Larger images are hashed in a thread of their own."""

DELETE_STEP = 1_000
"""How many pieces one `DeleteDiscarded` deletes."""

_Place: TypeAlias = tuple[int, int, str]
"""A time in milliseconds, the number of an upload, and its hash."""


@define
class _Image:
    """An image, registered or staged; times are in milliseconds."""

    spec: ImageSpec
    number: int
    piece_size: int
    created: int
    stamp: int
    """Of the last activity."""
    pieces: dict[int, bytes]
    missing: int = 0
    """Bytes."""
    completed: int = 0
    """0 while it is not complete."""
    record: AboutRecord | None = None
    """None for the defaults."""
    deadline: int = 0
    """The stamp at which `About.expires` passes; 0: never."""

    @property
    def about(self) -> AboutRecord:
        """What is stored beside it, or the defaults."""
        return self.record or AboutRecord(About(), self.number)

    @property
    def place(self) -> _Place:
        """Its place in the listing."""
        return self.completed, self.number, self.spec.sha256

    @property
    def end(self) -> _Place:
        """Its place in the order of deadlines."""
        return self.deadline, self.number, self.spec.sha256

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes ``[start, end)``, which are there."""
        size = self.piece_size
        ids = structs.replace(self.spec, chunk_size=size).chunks_between(start, end)
        pieces = [self.pieces[i] for i in ids]
        if not pieces:
            return b""
        # The last one first: it may be the same as the first.
        pieces[-1] = pieces[-1][: end - ids[-1] * size]
        pieces[0] = pieces[0][start - ids[0] * size :]
        return b"".join(pieces)


class Images:
    """
    The images; used by one thread at a time.

    `clock` returns seconds since the epoch, `limits` bound the pending uploads.
    """

    def __init__(
        self, limits: PendingLimits, clock: Callable[[], float], stamps: Stamps
    ) -> None:
        self._clock = clock
        self._stamps = stamps
        self.events = StoreEvents()
        self.pending: PendingUploads[int] = PendingUploads(limits)
        self.pending.total = 0
        self._images: dict[str, _Image] = {}
        self._staged: dict[int, _Image] = {}
        self._gone: dict[str, int] = {}
        """Stamps of the removal, by hash."""
        self._blocked: dict[str, BlockedHash] = {}
        # Each in ascending order: hashes of complete images, listed images by
        # completion, images and uploads by deadline.
        self._complete_hashes: list[str] = []
        self._listing: list[_Place] = []
        self._dated: list[_Place] = []
        self._discarded: list[dict[int, bytes]] = []
        self._removed: list[str] = []
        self._last_number = 0

    def execute(self, tasks: Sequence[Task]) -> list[Any]:
        """Carry out operations and answer queries; return the outcomes."""
        return list(map(self._outcome, tasks))

    @property
    def has_removed(self) -> bool:
        """Whether `take_removed` would return any; any thread."""
        return bool(self._removed)

    def take_removed(self) -> Sequence[str]:
        """Return the hashes of complete images that were removed since last time."""
        removed, self._removed = self._removed, []
        return removed

    def _outcome(self, task: Task) -> Any:  # noqa: ANN401 - the task's
        try:
            return self._DO[type(task)](self, task)
        except AsciidError as error:
            return error

    def _register(self, it: operations.Register) -> Completed | None:
        spec = it.spec
        self._refuse_blocked(spec.sha256)
        check_empty(spec)
        if spec.sha256 in self._images:
            raise ImageExistsError(spec.sha256)
        # The end of each upload is counted here: no search is needed.
        refusal = self.pending.refusal(it.client, lambda _: True)
        if refusal is not None:
            raise refusal
        image = self._new(spec, spec.chunk_size)
        image.missing = spec.size
        self._images[spec.sha256] = image
        record = record_of(it.new, None, image.number, listed=it.listed)
        self._describe(image, record)
        self.events.registered += 1
        if not spec.size:
            return self._complete(image, b"")
        self.pending.started(image.number, it.client)
        return None

    def _add_chunk(self, it: operations.AddChunk) -> Completed | Unverified | None:
        image = self._find(it.sha256)
        check_chunk(image.spec, it.chunk_id, len(it.data))
        self._refuse_stored(image, it.chunk_id, it.data)
        if image.missing == len(it.data) and image.spec.size > HASH_AT_ONCE:
            image.stamp = self._stamp()
            return Unverified(image.spec, image.number)
        return self._put_chunk(image, it.chunk_id, it.data, None)

    def _finish(self, it: operations.Finish) -> Completed | Unverified | None:
        sha256 = it.verified.spec.sha256
        image = self._find(sha256)
        if image.number != it.verified.number:
            return self._add_chunk(operations.AddChunk(sha256, it.chunk_id, it.data))
        self._refuse_stored(image, it.chunk_id, it.data)
        return self._put_chunk(image, it.chunk_id, it.data, it.actual)

    def _put_chunk(
        self, image: _Image, chunk_id: int, data: bytes, actual: str | None
    ) -> Completed | None:
        """Store a chunk; `actual` is the hash of the image if given."""
        image.pieces[chunk_id] = data
        image.missing -= len(data)
        image.stamp = self._stamp()
        self.events.chunks += 1
        if image.missing:
            return None
        content = None
        if actual is None:
            content = image.read(0, image.spec.size)
            actual = sha256_of(content).hexdigest()
        if actual == image.spec.sha256:
            self.pending.ended(image.number)
            return self._complete(image, content)
        self._discard(image)
        self.events.rejected += 1
        raise HashMismatchError(image.spec.sha256, actual)

    def _refuse_stored(self, image: _Image, chunk_id: int, data: bytes) -> None:
        if image.completed:
            start = chunk_id * image.spec.chunk_size
            stored: bytes | None = image.read(start, start + len(data))
        else:
            stored = image.pieces.get(chunk_id)
        if stored is not None:
            raise ChunkExistsError(
                image.spec.sha256, chunk_id, identical=stored == data
            )

    def _remove(self, it: operations.Remove) -> None:
        image = self._find(it.sha256)
        check_key(it.sha256, it.key_hash, image.about.key_hash)
        self._discard(image)
        # It may have expired before it was stored again.
        self._gone.pop(it.sha256, None)
        self.events.deleted += 1

    def _delete_discarded(self, _: operations.DeleteDiscarded) -> bool:
        room = DELETE_STEP
        while self._discarded and room:
            pieces = self._discarded[-1]
            while pieces and room:
                pieces.popitem()
                room -= 1
            if not pieces:
                self._discarded.pop()
        return bool(self._discarded)

    def _begin(self, _: operations.Begin) -> int:
        image = self._new(ImageSpec("", 0, PIECE), PIECE)
        self._staged[image.number] = image
        return image.number

    def _add_pieces(self, it: operations.AddPieces) -> None:
        image = self._staged.get(it.number)
        if image is None:
            raise StorageFailedError
        image.pieces.update(enumerate(it.pieces, it.first))
        image.stamp = self._stamp()

    def _adopt(self, it: operations.Adopt) -> Completed | None:
        self._refuse_blocked(it.sha256)
        image = self._staged.pop(it.number, None)
        if image is None:
            raise StorageFailedError
        return self._become(image, ImageSpec(it.sha256, it.length, PIECE), None, it)

    def _put(self, it: operations.Put) -> Completed | None:
        self._refuse_blocked(it.sha256)
        spec = ImageSpec(it.sha256, len(it.content), PIECE)
        return self._become(self._new(spec, PIECE), spec, it.content, it)

    def _become(
        self,
        image: _Image,
        spec: ImageSpec,
        content: bytes | None,
        it: operations.Adopt | operations.Put,
    ) -> Completed | None:
        """Complete a staged image as `spec`, in place of a pending one."""
        existing = self._images.get(spec.sha256)
        if existing is not None and existing.completed:
            self._discarded.append(image.pieces)
            return None
        image.spec = spec
        image.created = self._now()
        before = None if existing is None else existing.record
        if existing is not None:
            image.spec = structs.replace(spec, chunk_size=existing.spec.chunk_size)
            image.created = existing.created
            self._discard(existing)
        self._images[spec.sha256] = image
        record = record_of(it.new, before, image.number, listed=it.listed)
        self._describe(image, record)
        return self._complete(image, content, keeps_record=keeps_record(before))

    def _abandon(self, it: operations.Abandon) -> None:
        image = self._staged.pop(it.number, None)
        if image is not None:
            self._discarded.append(image.pieces)

    def _set_about(self, it: operations.SetAbout) -> int:
        image = self._find(it.sha256)
        current = image.about
        check_key(it.sha256, it.key_hash, current.key_hash)
        check_revision(it.sha256, it.revision, current.revision)
        revision = self._take_number()
        self._undescribe(image)
        record = AboutRecord(it.about, revision, current.key_hash, current.charset)
        self._describe(image, record)
        return revision

    def _block(self, it: operations.BlockHash) -> bool:
        image = self._images.get(it.sha256)
        if image is not None:
            self._discard(image)
            self.events.deleted += 1
        before = self._blocked.get(it.sha256)
        since = self._now() if before is None else before.since
        self._blocked[it.sha256] = BlockedHash(it.sha256, it.reason, since)
        return image is not None

    def _unblock(self, it: operations.UnblockHash) -> bool:
        return self._blocked.pop(it.sha256, None) is not None

    def _remove_expired(self, it: operations.RemoveExpired) -> int:
        before = self._before(it.older_than)
        return sum(self._expire(it.kind, old, before) for old in it.found)

    def _expire(self, kind: operations.Kind, old: Expired, before: int) -> bool:
        if kind == "gone":
            expires = self._gone.get(old.sha256, before) < before
            if expires:
                del self._gone[old.sha256]
            return expires
        if kind == "staged":
            staged = self._staged.get(old.number)
            if staged is None or staged.stamp >= before:
                return False
            self._abandon(operations.Abandon(old.number))
            return True
        image = self._images.get(old.sha256)
        if image is None or image.number != old.number:
            return False
        if kind == "dated":
            expires = 0 < image.deadline < before
        else:
            is_kind = bool(image.completed) == (kind == "images")
            expires = is_kind and image.stamp < before
        if not expires:
            return False
        self._discard(image)
        if image.completed:
            self._gone[old.sha256] = self._stamp()
            self.events.expired_images += 1
        else:
            self.events.expired_uploads += 1
        return True

    def _probe(self, _: operations.Probe) -> None:
        """Succeed: memory cannot fail."""

    def _several(self, it: queries.Several) -> list[Any]:
        return self.execute(it.queries)

    def _find_complete(self, it: queries.FindComplete) -> Found:
        image = self._find(it.sha256)
        if not image.completed:
            raise ImageIncompleteError(it.sha256)
        spec, completed = image.spec, image.completed / 1000
        stored = StoredImage(spec, image.number, image.piece_size, completed)
        return Found(
            stored, image.read(0, spec.size) if spec.size <= it.up_to else None
        )

    def _read_about(self, it: queries.ReadAbout) -> AboutRecord:
        return self._find(it.sha256).about

    def _list_images(self, it: queries.ListImages) -> list[ListedImage]:
        end = len(self._listing)
        if it.before is not None:
            before = (it.before.completed, it.before.number, "")
            end = bisect_left(self._listing, before)
        places = self._listing[max(0, end - it.limit) : end]
        return [self._listed(place) for place in reversed(places)]

    def _find_neighbours(
        self, it: queries.FindNeighbours
    ) -> tuple[ListedImage | None, ListedImage | None]:
        image = self._find(it.sha256)
        if not image.completed:
            raise ImageIncompleteError(it.sha256)
        if not image.about.about.listed:
            return None, None
        index = bisect_left(self._listing, image.place)
        older = self._listing[max(0, index - 1) : index]
        newer = self._listing[index + 1 : index + 2]
        return (
            self._listed(newer[0]) if newer else None,
            self._listed(older[0]) if older else None,
        )

    def _find_prefix(self, it: queries.FindPrefix) -> list[tuple[str, bool]]:
        first = bisect_left(self._complete_hashes, it.prefix)
        hashes = self._complete_hashes[first : first + MAX_FOUND]
        return [
            (sha256, self._images[sha256].about.about.listed)
            for sha256 in takewhile(lambda one: one.startswith(it.prefix), hashes)
        ]

    def _pick_random(self, it: queries.PickRandom) -> str | None:
        if not self._listing:
            return None
        return self._listing[it.seed % len(self._listing)][2]

    def _list_blocked(self, it: queries.ListBlocked) -> list[BlockedHash]:
        hashes = sorted(sha256 for sha256 in self._blocked if sha256 > it.after)
        return [self._blocked[sha256] for sha256 in hashes[: it.limit]]

    def _is_complete(self, it: queries.IsComplete) -> bool:
        self._refuse_blocked(it.sha256)
        image = self._images.get(it.sha256)
        return image is not None and bool(image.completed)

    def _read_ranges(self, it: queries.ReadRanges) -> list[bytes]:
        image = self._images.get(it.image.spec.sha256)
        if image is None or image.number != it.image.number:
            raise ImageNotFoundError(it.image.spec.sha256)
        return [image.read(start, end) for start, end in it.ranges]

    def _read_brief_status(self, it: queries.ReadBriefStatus) -> UploadStatus | None:
        image = self._find(it.sha256)
        if image.spec.chunks > queries.BRIEF_CHUNKS and not image.completed:
            return None
        return self._read_status(it)

    def _read_status(
        self, it: queries.ReadStatus | queries.ReadBriefStatus
    ) -> UploadStatus:
        image = self._find(it.sha256)
        status = UploadStatus(
            image.spec,
            ImageState.COMPLETE,
            received=image.spec.size - image.missing,
            created=image.created / 1000,
        )
        if image.completed:
            return evolve(status, completed=image.completed / 1000)
        runs = ((i, i) for i in sorted(image.pieces))
        missing, cut = missing_ranges(runs, image.spec.chunks)
        return evolve(
            status,
            state=ImageState.PENDING,
            missing=missing,
            missing_cut=cut,
            expires=self._stamps.expiry(image.stamp / 1000, it.lifetime),
        )

    def _hash_with(self, it: queries.HashWith) -> list[bytes]:
        """Return the pieces to hash."""
        image = self._images.get(it.upload.spec.sha256)
        pieces = {} if image is None else image.pieces
        # Where others are missing, too, the hash is useless.
        return [
            it.data if i == it.chunk_id else pieces.get(i, b"")
            for i in range(it.upload.spec.chunks)
        ]

    def _measure_usage(self, _: queries.MeasureUsage) -> StoreUsage:
        pending = self.pending.total or 0
        return StoreUsage(
            images=len(self._images) - pending,
            pending=pending,
            listed=len(self._listing),
            blocked=len(self._blocked),
        )

    def _find_expired(self, it: queries.FindExpired) -> ExpiredPage:
        before = self._before(it.older_than)
        if it.kind == "gone":
            found = [Expired(0, key) for key, at in self._gone.items() if at < before]
            return ExpiredPage(found, b"")
        if it.kind == "dated":
            places = takewhile(lambda place: place[0] < before, self._dated)
            found = [Expired(number, sha256) for _, number, sha256 in places]
            return ExpiredPage(found, b"")
        images = self._staged if it.kind == "staged" else self._images
        found = [
            Expired(image.number, image.spec.sha256)
            for image in images.values()
            if image.stamp < before and bool(image.completed) == (it.kind == "images")
        ]
        return ExpiredPage(found, b"")

    def _new(self, spec: ImageSpec, piece_size: int) -> _Image:
        number = self._take_number()
        return _Image(spec, number, piece_size, self._now(), self._stamp(), {})

    def _take_number(self) -> int:
        self._last_number += 1
        return self._last_number

    def _refuse_blocked(self, sha256: str) -> None:
        blocked = self._blocked.get(sha256)
        if blocked is not None:
            raise ImageBlockedError(blocked.reason)

    def _find(self, sha256: str) -> _Image:
        image = self._images.get(sha256)
        if image is None:
            self._refuse_blocked(sha256)
            gone = sha256 in self._gone
            raise ImageGoneError(sha256) if gone else ImageNotFoundError(sha256)
        return image

    def _complete(
        self, image: _Image, content: bytes | None, *, keeps_record: bool = False
    ) -> Completed:
        """Complete an image that was verified; in one piece if `content` is given."""
        if content is not None:
            image.pieces, image.piece_size = {0: content}, max(len(content), 1)
        image.completed = self._now()
        image.stamp = self._stamp()
        insort(self._complete_hashes, image.spec.sha256)
        if image.about.about.listed:
            insort(self._listing, image.place)
        self.events.completed += 1
        return Completed(image.spec, image.completed, content, keeps_record)

    def _describe(self, image: _Image, record: AboutRecord | None) -> None:
        """Give an image its record, which `_undescribe` has taken before."""
        image.record = record
        expires = image.about.about.expires
        if expires:
            image.deadline = max(1, self._stamp() + expires - self._now())
            insort(self._dated, image.end)
        if image.completed and image.about.about.listed:
            insort(self._listing, image.place)

    def _undescribe(self, image: _Image) -> None:
        """Take the record of an image, and all that is ordered by it."""
        if image.completed and image.about.about.listed:
            remove_sorted(self._listing, image.place)
        if image.deadline:
            remove_sorted(self._dated, image.end)
        image.record, image.deadline = None, 0

    def _listed(self, place: _Place) -> ListedImage:
        image = self._images[place[2]]
        return ListedImage(image.spec, image.completed, image.number, image.about)

    def _discard(self, image: _Image) -> None:
        self._undescribe(image)
        del self._images[image.spec.sha256]
        self._discarded.append(image.pieces)
        if image.completed:
            remove_sorted(self._complete_hashes, image.spec.sha256)
            self._removed.append(image.spec.sha256)
        else:
            self.pending.ended(image.number)

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _stamp(self) -> int:
        return int(self._stamps.now() * 1000)

    def _before(self, older_than: float) -> int:
        return self._stamp() - int(older_than * 1000)

    _DO: ClassVar[Mapping[type[Any], Callable[[Images, Any], Any]]] = {
        operations.Abandon: _abandon,
        operations.AddChunk: _add_chunk,
        operations.AddPieces: _add_pieces,
        operations.Adopt: _adopt,
        operations.Begin: _begin,
        operations.BlockHash: _block,
        operations.DeleteDiscarded: _delete_discarded,
        queries.FindComplete: _find_complete,
        queries.FindExpired: _find_expired,
        queries.FindNeighbours: _find_neighbours,
        queries.FindPrefix: _find_prefix,
        operations.Finish: _finish,
        queries.HashWith: _hash_with,
        queries.IsComplete: _is_complete,
        queries.ListBlocked: _list_blocked,
        queries.ListImages: _list_images,
        queries.MeasureUsage: _measure_usage,
        queries.PickRandom: _pick_random,
        operations.Probe: _probe,
        operations.Put: _put,
        queries.ReadAbout: _read_about,
        queries.ReadRanges: _read_ranges,
        queries.ReadBriefStatus: _read_brief_status,
        queries.ReadStatus: _read_status,
        operations.Register: _register,
        operations.Remove: _remove,
        operations.RemoveExpired: _remove_expired,
        operations.SetAbout: _set_about,
        queries.Several: _several,
        operations.UnblockHash: _unblock,
    }


def remove_sorted(ordered: list[OrderedT], one: OrderedT) -> None:
    """Remove an entry, which is there, from a list in ascending order."""
    del ordered[bisect_left(ordered, one)]
