"""Reads the chunks of the database that the operations of a transaction need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

from attrs import define, field

from asciid.engines.postgresql._sql_arrays import array_of
from asciid.engines.postgresql._sql_schema import SHARD_OF_UPLOAD
from asciid.store.operations import AddChunk, Finish

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import psycopg

    from asciid.engines.postgresql._image_state import Image
    from asciid.store.operations import AnyOperation

__all__ = ["StoredChunks"]

WHOLE_BYTES = 4 * 1024 * 1024
"""
The most bytes of pending images that are read in a transaction to hash them; others are
hashed outside, as large ones are.
"""

# Joined so that the planner reads each by its key, whatever it believes of the tables.
_SELECT: LiteralString = """
SELECT found.upload, found.id, found.data
FROM unnest(%s::smallint[], %s::bigint[], %s::bigint[]) AS u(shard, upload, id)
CROSS JOIN LATERAL (
    SELECT c.upload, c.id, c.data FROM asciid.chunk c
    WHERE c.shard = u.shard AND c.upload = u.upload AND c.id = u.id LIMIT 1
) AS found
UNION ALL
SELECT found.upload, found.id, found.data
FROM unnest(%s::smallint[], %s::bigint[]) AS u(shard, upload)
CROSS JOIN LATERAL (
    SELECT c.upload, c.id, c.data FROM asciid.chunk c
    WHERE c.shard = u.shard AND c.upload = u.upload LIMIT 1000
) AS found
"""


@define(eq=False)
class StoredChunks:
    """The chunks of images in a transaction, those that it adds included."""

    connection: psycopg.Connection[Any]
    _found: dict[tuple[int, int], bytes] = field(init=False, factory=dict)
    _asked: set[tuple[int, int]] = field(init=False, factory=set)
    _whole: set[int] = field(init=False, factory=set)
    """Uploads all of whose chunks were read."""

    def prefetch(
        self, operations: Sequence[AnyOperation], images: Mapping[str, Image]
    ) -> None:
        """Read, in one round trip, what `operations` need of `images`."""
        pending: dict[str, dict[int, int]] = {}
        some: set[tuple[int, int]] = set()
        for image, chunk_id, length in _additions(operations, images):
            if image.completed is None:
                pending.setdefault(image.spec.sha256, {})[chunk_id] = length
            else:
                start = chunk_id * image.spec.chunk_size
                ids = _pieces_between(image, start, start + length)
                some.update([(image.number, i) for i in ids])
        room = WHOLE_BYTES
        for sha256, lengths in pending.items():
            image = images[sha256]
            if (
                sum(lengths.values()) >= image.missing
                and image.is_small
                and image.spec.size <= room
            ):
                room -= image.spec.size
                self._whole.add(image.number)
            else:
                some.update([(image.number, i) for i in lengths])
        if some or self._whole:
            self._read(some, self._whole)

    def has_all(self, image: Image) -> bool:
        """Return whether all chunks of an image can be read without a round trip."""
        return not image.stored or image.number in self._whole

    def get(self, image: Image, piece_id: int) -> bytes | None:
        """Return a piece of an image, or None if it is not stored."""
        piece = image.pieces.get(piece_id)
        if piece is not None or not image.stored:
            return piece
        key = image.number, piece_id
        if image.number not in self._whole and key not in self._asked:
            # Only where several operations of a transaction name one image.
            self._read({key}, ())
        return self._found.get(key)

    def read(self, image: Image, start: int, end: int) -> bytes:
        """Return the bytes ``[start, end)`` of an image, which are stored."""
        ids = _pieces_between(image, start, end)
        found = b"".join([self.get(image, i) or b"" for i in ids])
        first = ids.start * image.piece_size
        return found[start - first : end - first]

    def _read(self, some: Collection[tuple[int, int]], whole: Collection[int]) -> None:
        """Read some chunks, and all of the uploads in `whole`."""
        self._asked.update(some)
        parameters = (
            array_of([number & SHARD_OF_UPLOAD for number, _ in some]),
            array_of([number for number, _ in some]),
            array_of([piece_id for _, piece_id in some]),
            array_of([number & SHARD_OF_UPLOAD for number in whole]),
            array_of(whole),
        )
        found = self._found
        cursor = self.connection.execute(_SELECT, parameters, binary=True)
        for number, piece_id, data in cursor.fetchall():
            found[number, piece_id] = data


def _additions(
    operations: Sequence[AnyOperation], images: Mapping[str, Image]
) -> Iterator[tuple[Image, int, int]]:
    """Yield the image, id and length of each chunk that belongs to a stored image."""
    for it in operations:
        if isinstance(it, AddChunk):
            image = images.get(it.sha256)
        elif isinstance(it, Finish):
            image = images.get(it.verified.spec.sha256)
        else:
            continue
        if image is None:
            continue
        length, spec = len(it.data), image.spec
        if 0 <= it.chunk_id < spec.chunks and length == spec.chunk_length(it.chunk_id):
            yield image, it.chunk_id, length


def _pieces_between(image: Image, start: int, end: int) -> range:
    """Return the ids of the pieces that hold the bytes ``[start, end)``."""
    size = image.piece_size
    return range(start // size, -(-end // size))
