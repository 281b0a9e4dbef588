"""What each operation does to the state of its transaction; nothing of SQL."""

from __future__ import annotations

from hashlib import sha256 as sha256_of
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import define, field
from msgspec import structs

from asciid.engines.postgresql._image_state import Image
from asciid.errors import (
    AsciidError,
    ChunkExistsError,
    HashMismatchError,
    ImageExistsError,
    StorageFailedError,
)
from asciid.model import AboutRecord, BlockedHash, ImageSpec
from asciid.store import operations
from asciid.store.operations import Completed, Unverified
from asciid.store.rules import (
    PIECE,
    check_chunk,
    check_empty,
    check_key,
    check_revision,
    keeps_record,
    record_of,
)
from asciid.store.stats import StoreEvents

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from asciid.engines.postgresql._image_state import BatchState
    from asciid.engines.postgresql._stored_chunks import StoredChunks
    from asciid.store.operations import AnyOperation, Expired
    from asciid.store.pending import PendingUploads

__all__ = ["Decisions"]


@define(eq=False)
class Decisions:
    """
    Carries operations out on a `BatchState`.

    An operation raises domain errors only before it has changed anything, or when the
    change is meant to stay.
    """

    state: BatchState
    chunks: StoredChunks
    """Those of the database."""
    numbers: Mapping[int, int]
    """The upload numbers for operations, by their place in the transaction."""
    pending: PendingUploads[tuple[str, int]]
    is_pending: Callable[[tuple[str, int]], bool]
    """Whether an upload of a client is still pending."""
    events: StoreEvents = field(init=False, factory=StoreEvents)
    removed: list[str] = field(init=False, factory=list)
    _place: int = field(init=False, default=0)

    def decide(self, tasks: Sequence[AnyOperation]) -> list[Any]:
        """Carry operations out; return the outcomes."""
        outcomes: list[Any] = []
        decide = self._DECIDE
        for self._place, task in enumerate(tasks):
            try:
                outcomes.append(decide[type(task)](self, task))
            except AsciidError as error:
                outcomes.append(error)
        return outcomes

    def _register(self, it: operations.Register) -> Completed | None:
        spec = it.spec
        state, sha256 = self.state, spec.sha256
        state.refuse_blocked(sha256)
        check_empty(spec)
        if sha256 in state.images:
            raise ImageExistsError(sha256)
        refusal = self.pending.refusal(it.client, self.is_pending)
        if refusal is not None:
            raise refusal
        number = self._number
        image = self._new(spec, number, spec.chunk_size)
        image.missing = spec.size
        state.images[sha256] = image
        state.describe(image, record_of(it.new, None, number, listed=it.listed))
        self.events.registered += 1
        if not spec.size:
            return self._complete(image, b"")
        self.pending.started((sha256, number), it.client)
        return None

    def _add_chunk(self, it: operations.AddChunk) -> Completed | Unverified | None:
        image = self.state.find(it.sha256)
        check_chunk(image.spec, it.chunk_id, len(it.data))
        self._refuse_stored(image, it.chunk_id, it.data)
        if image.missing == len(it.data) and not (
            image.is_small and self.chunks.has_all(image)
        ):
            # Hashing may take long: this is activity, too.
            image.active, image.changed = self.state.now, True
            return Unverified(image.spec, image.number)
        return self._put_chunk(image, it.chunk_id, it.data, None)

    def _finish(self, it: operations.Finish) -> Completed | Unverified | None:
        sha256 = it.verified.spec.sha256
        image = self.state.find(sha256)
        if image.number != it.verified.number:
            return self._add_chunk(operations.AddChunk(sha256, it.chunk_id, it.data))
        self._refuse_stored(image, it.chunk_id, it.data)
        return self._put_chunk(image, it.chunk_id, it.data, it.actual)

    def _put_chunk(
        self, image: Image, chunk_id: int, data: bytes, actual: str | None
    ) -> Completed | None:
        """Store a chunk; `actual` is the hash of the image if given."""
        image.pieces[chunk_id] = data
        image.missing -= len(data)
        image.active, image.changed = self.state.now, True
        self.events.chunks += 1
        if image.missing:
            return None
        content = None
        if actual is None:
            content = self.chunks.read(image, 0, image.spec.size)
            actual = sha256_of(content).hexdigest()
        sha256 = image.spec.sha256
        self.pending.ended((sha256, image.number))
        if actual == sha256:
            return self._complete(image, content)
        self.state.remove(sha256)
        self.events.rejected += 1
        raise HashMismatchError(sha256, actual)

    def _refuse_stored(self, image: Image, chunk_id: int, data: bytes) -> None:
        """Refuse a chunk that is stored; do nothing if it is not."""
        if image.completed is not None:
            # It may be stored in other pieces than its chunks.
            start = chunk_id * image.spec.chunk_size
            stored = self.chunks.read(image, start, start + len(data))
        else:
            found = self.chunks.get(image, chunk_id, len(data))
            if found is None:
                return
            stored = found
        raise ChunkExistsError(image.spec.sha256, chunk_id, identical=stored == data)

    def _remove(self, it: operations.Remove) -> None:
        image = self.state.find(it.sha256)
        check_key(it.sha256, it.key_hash, self.state.about_of(image).key_hash)
        self._discard(it.sha256)
        # It may have expired before it was stored again.
        self.state.forget_gone(it.sha256)
        self.events.deleted += 1

    def _begin(self, _: operations.Begin) -> int:
        number = self._number
        staged = self._new(ImageSpec("", 0, PIECE), number, PIECE)
        self.state.staged[number] = staged
        self.state.changed_staged.add(number)
        return number

    def _add_pieces(self, it: operations.AddPieces) -> None:
        staged = self._staged(it.number)
        staged.pieces.update(enumerate(it.pieces, it.first))
        staged.active = self.state.now
        self.state.changed_staged.add(it.number)

    def _adopt(self, it: operations.Adopt) -> Completed | None:
        self.state.refuse_blocked(it.sha256)
        staged = self._staged(it.number)
        existing = self.state.images.get(it.sha256)
        self._unstage(it.number)
        if existing is not None and existing.completed is not None:
            self.state.discard(staged)
            return None
        staged.spec = ImageSpec(it.sha256, it.length, PIECE)
        return self._become(staged, None, it, existing)

    def _put(self, it: operations.Put) -> Completed | None:
        existing = self.state.images.get(it.sha256)
        if existing is not None and existing.completed is not None:
            return None
        self.state.refuse_blocked(it.sha256)
        content = it.content
        spec = ImageSpec(it.sha256, len(content), PIECE)
        image = self._new(spec, self._number, PIECE)
        image.pieces = {
            index: content[start : start + PIECE]
            for index, start in enumerate(range(0, len(content), PIECE))
        }
        return self._become(image, content, it, existing)

    def _become(
        self,
        image: Image,
        content: bytes | None,
        it: operations.Adopt | operations.Put,
        pending: Image | None,
    ) -> Completed:
        """Complete a staged image, in place of a pending one."""
        sha256 = it.sha256
        image.created, before = self.state.now, None
        if pending is not None:
            image.spec = structs.replace(image.spec, chunk_size=pending.spec.chunk_size)
            image.created = pending.created
            before = self.state.abouts.get(pending.number)
            self.state.remove(sha256)
            self.pending.ended((sha256, pending.number))
        self.state.images[sha256] = image
        record = record_of(it.new, before, image.number, listed=it.listed)
        self.state.describe(image, record)
        return self._complete(image, content, keeps_record=keeps_record(before))

    def _abandon(self, it: operations.Abandon) -> None:
        staged = self.state.staged.get(it.number)
        if staged is not None:
            self._unstage(it.number)
            self.state.discard(staged)

    def _set_about(self, it: operations.SetAbout) -> int:
        state = self.state
        image = state.find(it.sha256)
        current = state.about_of(image)
        check_key(it.sha256, it.key_hash, current.key_hash)
        check_revision(it.sha256, it.revision, current.revision)
        revision = self._number
        record = AboutRecord(it.about, revision, current.key_hash, current.charset)
        state.describe(image, record)
        return revision

    def _block(self, it: operations.BlockHash) -> bool:
        state = self.state
        found = it.sha256 in state.images
        if found:
            self._discard(it.sha256)
            self.events.deleted += 1
        before = state.blocked.get(it.sha256)
        since = state.now if before is None else before.since
        state.blocked[it.sha256] = BlockedHash(it.sha256, it.reason, since)
        state.changed_blocked.add(it.sha256)
        return found

    def _unblock(self, it: operations.UnblockHash) -> bool:
        found = self.state.blocked.pop(it.sha256, None) is not None
        if found:
            self.state.changed_blocked.add(it.sha256)
        return found

    def _remove_expired(self, it: operations.RemoveExpired) -> int | None:
        if it.kind == "gone":
            return None  # see `_later`
        before = self.state.now - int(it.older_than * 1000)
        return sum([self._expire(it.kind, old, before) for old in it.found])

    def _expire(self, kind: operations.Kind, old: Expired, before: int) -> bool:
        state = self.state
        if kind == "staged":
            staged = state.staged.get(old.number)
            if staged is None or staged.active >= before:
                return False
            self._abandon(operations.Abandon(old.number))
            return True
        image = state.images.get(old.sha256)
        if image is None or image.number != old.number:
            return False
        complete = image.completed is not None
        if kind == "dated":
            expires = image.deadline is not None and image.deadline < before
        else:
            expires = complete == (kind == "images") and image.active < before
        if not expires:
            return False
        self._discard(old.sha256)
        if complete:
            state.set_gone(old.sha256)
            self.events.expired_images += 1
        else:
            self.events.expired_uploads += 1
        return True

    def _later(self, _: AnyOperation) -> None:
        """Leave the outcome to what is read after the changes."""

    @property
    def _number(self) -> int:
        return self.numbers[self._place]

    def _new(self, spec: ImageSpec, number: int, piece_size: int) -> Image:
        """Return an image of which the database has nothing yet."""
        now = self.state.now
        return Image(spec, number, piece_size, 0, now, now, stored=False)

    def _staged(self, number: int) -> Image:
        """
        Return a staged image.

        Errors: `StorageFailedError` if it was abandoned, or has expired.
        """
        staged = self.state.staged.get(number)
        if staged is None:
            raise StorageFailedError
        return staged

    def _unstage(self, number: int) -> None:
        del self.state.staged[number]
        self.state.changed_staged.add(number)

    def _complete(
        self, image: Image, content: bytes | None, *, keeps_record: bool = False
    ) -> Completed:
        """Complete an image that was verified; the rest is handed through."""
        now = self.state.now
        image.completed = image.active = now
        image.changed = True
        self.events.completed += 1
        return Completed(image.spec, now, content, keeps_record)

    def _discard(self, sha256: str) -> None:
        """Remove an image or an upload on request, or because it has expired."""
        image = self.state.remove(sha256)
        if image.completed is None:
            self.pending.ended((sha256, image.number))
        else:
            self.removed.append(sha256)

    _DECIDE: ClassVar[Mapping[type[Any], Callable[[Decisions, Any], Any]]] = {
        operations.Abandon: _abandon,
        operations.AddChunk: _add_chunk,
        operations.AddPieces: _add_pieces,
        operations.Adopt: _adopt,
        operations.Begin: _begin,
        operations.BlockHash: _block,
        operations.DeleteDiscarded: _later,
        operations.Finish: _finish,
        operations.Probe: _later,
        operations.Put: _put,
        operations.Register: _register,
        operations.Remove: _remove,
        operations.RemoveExpired: _remove_expired,
        operations.SetAbout: _set_about,
        operations.UnblockHash: _unblock,
    }
