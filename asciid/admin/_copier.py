"""Copies everything from one storage to another, whatever engines they have."""

from __future__ import annotations

from hashlib import sha256 as sha256_of
from typing import TYPE_CHECKING, Any

from attrs import define, field
from msgspec import structs

from asciid.store.transfer import DamagedUploadError, StoredUpload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from asciid.model import ImageSpec
    from asciid.store.transfer import ICopySource, ICopyTarget, Pieces

__all__ = ["BATCH_BYTES", "BATCH_UPLOADS", "Copier"]

BATCH_UPLOADS = 500
"""Maximum uploads of a transaction ..."""

BATCH_BYTES = 4 * 1024 * 1024
"""
... and bytes of them together, with `_PIECE_COST` for each piece; an upload that is
larger is staged in several transactions.
"""

_PIECE_COST = 1024


@define
class Copier:
    """
    One copy, which adds to the target what it does not have.

    An interrupted one is continued by another one: that skips what the target has.
    """

    source: ICopySource
    target: ICopyTarget
    found: Callable[[str, str, str], object]
    """
    Called with a kind, a hash, and a reason for people.  The kind is ``damaged`` for
    what cannot be read in the source, and ``different`` for what the target does not
    have as the source has it.
    """
    progress: Callable[[str, int], object]
    """Called with the name of a step, and how many uploads it has dealt with."""
    total: int = field(init=False)
    """Images and pending uploads in the source."""
    images: int = field(init=False, default=0)
    """Images in the source, without damaged ones."""
    pending: int = field(init=False, default=0)
    """Pending uploads in the source, without damaged ones."""
    blocked: int = field(init=False, default=0)
    """Blocked hashes in the source."""
    copied: int = field(init=False, default=0)
    """Images and pending uploads that were copied."""
    size: int = field(init=False, default=0)
    """Their bytes."""
    _damaged: set[str] = field(init=False, factory=set)
    _done: int = field(init=False, default=0)

    @total.default
    def _(self) -> int:
        return self.source.total

    def run(self) -> None:
        """Copy everything, then compare everything."""
        self.target.tidy()
        self.target.reserve_numbers(self.source.next_number)
        # First, so that the target never accepts what the source refuses.
        self._copy_blocked()
        for gone in self.source.gone():
            self.target.add_gone(gone)
        # Numbers order images that became complete within the same millisecond.
        for listed in self.source.listed():
            self._copy_page(listed)
        for page in self.source.uploads():
            self._copy_page(list(self._intact(page)), counted=False)
        self.target.tidy()
        self._done = 0
        for page in self.source.uploads():
            self._compare_page(list(self._intact(page)))
        for blocked in self.source.blocked():
            self._compare_blocked(blocked)

    def _copy_blocked(self) -> None:
        for page in self.source.blocked():
            readable = []
            for one in page:
                if isinstance(one, DamagedUploadError):
                    self._report_damage(one)
                else:
                    readable.append(one)
            self.target.add_blocked(readable)
            self.blocked += len(readable)

    def _copy_page(
        self, uploads: Sequence[StoredUpload], *, counted: bool = True
    ) -> None:
        """Copy uploads that the target does not have, in order."""
        batch: list[StoredUpload] = []
        size = 0
        for upload in self._wanted(uploads):
            cost = _cost(upload)
            if batch and (len(batch) == BATCH_UPLOADS or size + cost > BATCH_BYTES):
                self._copy_small(batch)
                batch, size = [], 0
            if cost > BATCH_BYTES:
                self._copy_large(upload)
            else:
                batch.append(upload)
                size += cost
        if batch:
            self._copy_small(batch)
        self._done += sum(1 for one in uploads if counted or not one.is_listed)
        self.progress("copying", self._done)

    def _wanted(self, uploads: Sequence[StoredUpload]) -> Iterator[StoredUpload]:
        """Yield those that the target is to get."""
        there = self.target.find([upload.spec.sha256 for upload in uploads])
        wanted = [
            upload
            for upload in uploads
            if _is_wanted(upload, there.get(upload.spec.sha256))
        ]
        if wanted:
            hashes = [upload.spec.sha256 for upload in wanted]
            blocked = self.target.find_blocked(hashes)
            yield from (one for one in wanted if one.spec.sha256 not in blocked)

    def _copy_small(self, uploads: Sequence[StoredUpload]) -> None:
        """Copy uploads in one transaction, leaving out damaged ones."""
        verified: list[tuple[StoredUpload, Pieces]] = []
        for upload, pieces in self._read(uploads):
            check = _Check(upload)
            try:
                check.update(pieces)
                check.end()
            except DamagedUploadError as error:
                self._report_damage(error)
            else:
                verified.append((upload, pieces))
        if verified:
            self.target.add(verified)
        for upload, _ in verified:
            self._count(upload)

    def _read(
        self, uploads: Sequence[StoredUpload]
    ) -> Iterator[tuple[StoredUpload, Pieces]]:
        try:
            contents = self.source.read(uploads)
        except DamagedUploadError as error:
            if len(uploads) == 1:
                self._report_damage(error)
            else:
                for upload in uploads:
                    yield from self._read([upload])
        else:
            yield from zip(uploads, contents, strict=True)

    def _copy_large(self, upload: StoredUpload) -> None:
        number = self.target.begin()
        check = _Check(upload)
        try:
            for pieces in self.source.stream(upload):
                check.update(pieces)
                self.target.append(number, pieces)
            check.end()
        except DamagedUploadError as error:
            self.target.abandon(number)
            self._report_damage(error)
            return
        self.target.finish(number, upload)
        self._count(upload)

    def _count(self, upload: StoredUpload) -> None:
        self.copied += 1
        self.size += upload.spec.size - upload.missing

    def _intact(
        self, page: Sequence[StoredUpload | DamagedUploadError]
    ) -> Iterator[StoredUpload]:
        for one in page:
            if isinstance(one, DamagedUploadError):
                self._report_damage(one)
            elif one.spec.sha256 not in self._damaged:
                yield one

    def _report_damage(self, damage: DamagedUploadError) -> None:
        if damage.sha256 not in self._damaged:
            self._damaged.add(damage.sha256)
            self.found("damaged", damage.sha256, str(damage))

    def _compare_page(self, uploads: Sequence[StoredUpload]) -> None:
        hashes = [upload.spec.sha256 for upload in uploads]
        there = self.target.find(hashes)
        absent = [one for one in hashes if one not in there]
        blocked = self.target.find_blocked(absent) if absent else {}
        for upload in uploads:
            sha256 = upload.spec.sha256
            if sha256 in blocked:
                reason: str | None = "the target blocks it"
            else:
                reason = _difference(upload, there.get(sha256))
            if reason is not None:
                self.found("different", sha256, reason)
            if upload.completed is None:
                self.pending += 1
            else:
                self.images += 1
        self._done += len(uploads)
        self.progress("comparing", self._done)

    def _compare_blocked(self, page: Sequence[Any]) -> None:
        expected = {one.sha256: one for one in page if one.sha256 not in self._damaged}
        there = self.target.find_blocked(list(expected))
        for sha256, one in expected.items():
            if there.get(sha256) != one:
                reason = (
                    "the target blocks it with another reason or time"
                    if sha256 in there
                    else "it is blocked, and the target has it"
                )
                self.found("different", sha256, reason)


@define
class _Check:
    """Checks the pieces of an upload, as they are read."""

    upload: StoredUpload
    _layout: ImageSpec = field(init=False)
    _digest: Any = field(init=False, factory=sha256_of)
    _next: int = field(init=False, default=0)
    _size: int = field(init=False, default=0)

    @_layout.default
    def _(self) -> ImageSpec:
        return structs.replace(self.upload.spec, chunk_size=self.upload.piece_size)

    def update(self, pieces: Pieces) -> None:
        """
        Check the next pieces.

        Errors: `DamagedUploadError`.
        """
        for index, piece in pieces:
            known = self._next <= index < self._layout.chunks
            if not known or len(piece) != self._layout.chunk_length(index):
                reason = f"piece {index} does not belong to it"
                raise self._damaged(reason)
            self._digest.update(piece)
            self._size += len(piece)
            self._next = index + 1

    def end(self) -> None:
        """
        Check that all pieces were there.

        Errors: `DamagedUploadError`.
        """
        upload = self.upload
        expected = upload.spec.size - upload.missing
        if self._size != expected:
            reason = f"{self._size} of its {expected} bytes are there"
            raise self._damaged(reason)
        actual = self._digest.hexdigest()
        if upload.completed is not None and actual != upload.spec.sha256:
            reason = f"its bytes have the hash {actual}"
            raise self._damaged(reason)

    def _damaged(self, reason: str) -> DamagedUploadError:
        return DamagedUploadError(self.upload.spec.sha256, reason)


def _cost(upload: StoredUpload) -> int:
    """Return what an upload takes of a batch."""
    pieces = -(-upload.spec.size // upload.piece_size)
    return upload.spec.size + pieces * _PIECE_COST


def _is_wanted(
    upload: StoredUpload, there: StoredUpload | DamagedUploadError | None
) -> bool:
    """Return whether the target is to get `upload`, where it has `there`."""
    if there is None:
        return True
    if isinstance(there, DamagedUploadError):
        return False
    return upload.completed is not None and there.completed is None


def _difference(
    upload: StoredUpload, there: StoredUpload | DamagedUploadError | None
) -> str | None:
    """Return how the target has `upload` otherwise than the source, if it does."""
    if there is None:
        return "the target does not have it"
    if isinstance(there, DamagedUploadError):
        return f"the target has it damaged: {there}"
    if upload.completed is None and there.completed is not None:
        return None  # Somebody completed it since it was copied.
    for name, value in _compared(upload).items():
        if _compared(there)[name] != value:
            return f"the target has it with another {name}"
    return None


def _compared(upload: StoredUpload) -> Mapping[str, object]:
    return {
        "size": upload.spec.size,
        "chunk size": upload.spec.chunk_size,
        "time of registration": upload.created,
        "time of completion": upload.completed,
        "set of chunks": upload.missing,
        "about record": upload.record,
    }
