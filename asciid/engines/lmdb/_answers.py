"""
Answers to queries, from one snapshot of the storage file.

Everything here runs in a thread of the read pool.
"""

from __future__ import annotations

from hashlib import sha256 as sha256_of
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

import lmdb
from attrs import frozen

from asciid.engines.lmdb._about import about_of, refuse_blocked
from asciid.engines.lmdb._listing import (
    find_neighbours,
    find_prefix,
    list_blocked,
    list_images,
    pick_random,
)
from asciid.engines.lmdb._lookup import (
    find,
    find_seal,
    measure,
    read_range,
    read_ranges,
    stored_runs,
)
from asciid.engines.lmdb._records import (
    ImageRecord,
    UploadRecord,
    chunk_key,
    upload_key,
)
from asciid.engines.lmdb._sweeping import find_expired
from asciid.errors import (
    AsciidError,
    ImageIncompleteError,
)
from asciid.model import ImageState, UploadStatus
from asciid.runtime.frames import forget_tracebacks
from asciid.store.queries import (
    BRIEF_CHUNKS,
    FindComplete,
    FindExpired,
    FindNeighbours,
    FindPrefix,
    Found,
    HashWith,
    IsComplete,
    ListBlocked,
    ListImages,
    MeasureUsage,
    PickRandom,
    ReadAbout,
    ReadBriefStatus,
    ReadRanges,
    ReadStatus,
    Several,
    StoredImage,
)
from asciid.store.rules import missing_ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from hashlib import _Hash
    from pathlib import Path

    from asciid.engines._stamps import Stamps
    from asciid.engines.lmdb._databases import Snapshot
    from asciid.model import AboutRecord, BlockedHash, ListedImage
    from asciid.store.queries import ExpiredPage, Query
    from asciid.store.stats import StoreUsage

__all__ = ["Answers"]

RELIEVE_EVERY = 1024 * 1024
"""Bytes that are hashed between two checks of the memory that they take."""


@frozen
class Answers:
    """Answers the queries on the storage in the directory `path`."""

    path: Path
    stamps: Stamps

    def answer(self, snapshot: Snapshot, query: Query[Any]) -> Any:  # noqa: ANN401 - the query's
        """
        Answer `query`.

        Errors: those of the query, `lmdb.Error`.
        """
        return self._BY_TYPE[type(query)](self, snapshot, query)

    def _several(self, snapshot: Snapshot, query: Several) -> list[Any]:
        return [self._outcome(snapshot, one) for one in query.queries]

    def _outcome(self, snapshot: Snapshot, query: Query[Any]) -> Any:  # noqa: ANN401 - the query's
        try:
            return self.answer(snapshot, query)
        except AsciidError as error:
            forget_tracebacks(error)
            return error

    def _find_complete(self, snapshot: Snapshot, query: FindComplete) -> Found:
        """
        See `FindComplete`.

        Errors: `lmdb.CorruptedError` if the content has another hash: it might stay
        in the cache long after `asciid verify` has quarantined the image.
        """
        sha256 = query.sha256
        image = find(snapshot, sha256)
        seal = find_seal(snapshot, image.number)
        if seal is None:
            raise ImageIncompleteError(sha256)
        content = None
        if image.size <= query.up_to:
            content = read_range(snapshot, sha256, image, 0, image.size)
            if sha256_of(content).hexdigest() != sha256:
                message = "damaged image; asciid verify lists it"
                raise lmdb.CorruptedError(message)
        completed = seal.completed / 1000
        spec = image.spec(sha256)
        stored = StoredImage(spec, image.number, image.piece_size, completed)
        return Found(stored, content)

    def _is_complete(self, snapshot: Snapshot, query: IsComplete) -> bool:
        digest = bytes.fromhex(query.sha256)
        stored = snapshot.transaction.get(digest, db=snapshot.databases.images)
        if stored is None:
            refuse_blocked(snapshot, digest)
            return False
        return find_seal(snapshot, ImageRecord.unpack(stored).number) is not None

    def _read_about(self, snapshot: Snapshot, query: ReadAbout) -> AboutRecord:
        number = find(snapshot, query.sha256).number
        return about_of(snapshot, number)

    def _list_images(self, snapshot: Snapshot, query: ListImages) -> list[ListedImage]:
        return list_images(snapshot, query.before, query.limit)

    def _find_neighbours(
        self, snapshot: Snapshot, query: FindNeighbours
    ) -> tuple[ListedImage | None, ListedImage | None]:
        return find_neighbours(snapshot, query.sha256)

    def _find_prefix(
        self, snapshot: Snapshot, query: FindPrefix
    ) -> list[tuple[str, bool]]:
        return find_prefix(snapshot, query.prefix)

    def _pick_random(self, snapshot: Snapshot, query: PickRandom) -> str | None:
        return pick_random(snapshot, query.seed)

    def _list_blocked(
        self, snapshot: Snapshot, query: ListBlocked
    ) -> list[BlockedHash]:
        return list_blocked(snapshot, query.after, query.limit)

    def _read_ranges(self, snapshot: Snapshot, query: ReadRanges) -> list[bytes]:
        image, spec = query.image, query.image.spec
        record = ImageRecord(image.number, spec.size, spec.chunk_size, image.piece_size)
        return read_ranges(snapshot, spec.sha256, record, query.ranges)

    def _read_status(self, snapshot: Snapshot, query: ReadStatus) -> UploadStatus:
        image = find(snapshot, query.sha256)
        return self._status_of(snapshot, query, image)

    def _read_brief_status(
        self, snapshot: Snapshot, query: ReadBriefStatus
    ) -> UploadStatus | None:
        image = find(snapshot, query.sha256)
        chunks = image.spec(query.sha256).chunks
        if chunks > BRIEF_CHUNKS and find_seal(snapshot, image.number) is None:
            return None
        return self._status_of(snapshot, query, image)

    def _status_of(
        self,
        snapshot: Snapshot,
        query: ReadStatus | ReadBriefStatus,
        image: ImageRecord,
    ) -> UploadStatus:
        spec, number = image.spec(query.sha256), image.number
        seal = find_seal(snapshot, number)
        if seal is not None:
            return UploadStatus(
                spec,
                ImageState.COMPLETE,
                received=spec.size,
                created=seal.created / 1000,
                completed=seal.completed / 1000,
            )
        # A registered image without a seal has an upload record.
        transaction, uploads = snapshot.transaction, snapshot.databases.uploads
        upload = UploadRecord.unpack(
            transaction.get(upload_key(number), b"", db=uploads)
        )
        stored = stored_runs(snapshot, number, spec.chunks)
        missing, cut = missing_ranges(stored, spec.chunks)
        return UploadStatus(
            spec,
            ImageState.PENDING,
            received=spec.size - upload.missing,
            created=upload.created / 1000,
            missing=missing,
            missing_cut=cut,
            expires=self.stamps.expiry(upload.active / 1000, query.lifetime),
        )

    def _hash_with(self, snapshot: Snapshot, query: HashWith) -> str:
        digest = sha256_of()
        spec, number = query.upload.spec, query.upload.number
        with snapshot.transaction.cursor(snapshot.databases.chunks) as cursor:
            cursor.set_range(chunk_key(number, 0))
            values = cursor.iternext(keys=False, values=True)
            _hash_all(snapshot, digest, islice(values, query.chunk_id))
            digest.update(query.data)
            cursor.set_range(chunk_key(number, query.chunk_id))
            values = cursor.iternext(keys=False, values=True)
            after = spec.chunks - query.chunk_id - 1
            _hash_all(snapshot, digest, islice(values, after))
        return digest.hexdigest()

    def _measure_usage(self, snapshot: Snapshot, _: MeasureUsage) -> StoreUsage:
        return measure(snapshot, self.path)

    def _find_expired(self, snapshot: Snapshot, query: FindExpired) -> ExpiredPage:
        before = int((self.stamps.now() - query.older_than) * 1000)
        return find_expired(snapshot, query.kind, query.start, before)

    _BY_TYPE: ClassVar[Mapping[type[Any], Callable[..., Any]]] = {
        FindComplete: _find_complete,
        FindExpired: _find_expired,
        FindNeighbours: _find_neighbours,
        FindPrefix: _find_prefix,
        HashWith: _hash_with,
        IsComplete: _is_complete,
        ListBlocked: _list_blocked,
        ListImages: _list_images,
        MeasureUsage: _measure_usage,
        PickRandom: _pick_random,
        ReadAbout: _read_about,
        ReadBriefStatus: _read_brief_status,
        ReadRanges: _read_ranges,
        ReadStatus: _read_status,
        Several: _several,
    }


def _hash_all(snapshot: Snapshot, digest: _Hash, pieces: Iterable[bytes]) -> None:
    size = 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
        if size >= RELIEVE_EVERY:
            snapshot.relieve()
            size = 0
