"""Reads the chunks of the database that the operations of a transaction need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString, TypeAlias

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
SELECT found.upload, found.id, u.first, u.length, found.data
FROM unnest(
    %s::smallint[], %s::bigint[], %s::bigint[], %s::integer[], %s::integer[]
) AS u(shard, upload, id, first, length)
CROSS JOIN LATERAL (
    SELECT c.upload, c.id, substring(c.data FROM u.first + 1 FOR u.length) AS data
    FROM asciid.chunk c
    WHERE c.shard = u.shard AND c.upload = u.upload AND c.id = u.id LIMIT 1
) AS found
UNION ALL
SELECT found.upload, found.id, 0, NULL, found.data
FROM unnest(%s::smallint[], %s::bigint[]) AS u(shard, upload)
CROSS JOIN LATERAL (
    SELECT c.upload, c.id, c.data FROM asciid.chunk c
    WHERE c.shard = u.shard AND c.upload = u.upload LIMIT 1000
) AS found
"""

_Part: TypeAlias = tuple[int, int, int, int]
"""An upload, one of its pieces, an offset in that, and a number of bytes."""


@define(eq=False)
class StoredChunks:
    """The chunks of images in a transaction, those that it adds included."""

    connection: psycopg.Connection[Any]
    _parts: dict[_Part, bytes] = field(init=False, factory=dict)
    _asked: set[_Part] = field(init=False, factory=set)
    """Parts that are not in `_parts` are not stored."""
    _pieces: dict[tuple[int, int], bytes] = field(init=False, factory=dict)
    _whole: set[int] = field(init=False, factory=set)
    """Uploads all of whose chunks are in `_pieces`."""

    def prefetch(
        self, operations: Sequence[AnyOperation], images: Mapping[str, Image]
    ) -> None:
        """Read, in one round trip, what `operations` need of `images`."""
        pending: dict[str, dict[int, int]] = {}
        some: set[_Part] = set()
        for image, chunk_id, length in _additions(operations, images):
            if image.completed is None:
                pending.setdefault(image.spec.sha256, {})[chunk_id] = length
            else:
                start = chunk_id * image.spec.chunk_size
                some.update(_parts_between(image, start, start + length))
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
                some.update(
                    [(image.number, i, 0, length) for i, length in lengths.items()]
                )
        if some or self._whole:
            self._read(some, self._whole)

    def has_all(self, image: Image) -> bool:
        """Return whether all chunks of an image can be read without a round trip."""
        return not image.stored or image.number in self._whole

    def get(self, image: Image, piece_id: int, length: int) -> bytes | None:
        """Return a piece of an image, or None if it is not stored."""
        return self._get(image, (image.number, piece_id, 0, length))

    def read(self, image: Image, start: int, end: int) -> bytes:
        """Return the bytes ``[start, end)`` of an image, which are stored."""
        parts = _parts_between(image, start, end)
        return b"".join([self._get(image, part) or b"" for part in parts])

    def _get(self, image: Image, part: _Part) -> bytes | None:
        number, piece_id, first, length = part
        piece = image.pieces.get(piece_id)
        if piece is None:
            piece = self._pieces.get((number, piece_id))
        if piece is not None:
            return piece[first : first + length]
        if not image.stored or number in self._whole:
            return None
        if part not in self._asked:
            # Only where several operations of a transaction name one image.
            self._read({part}, ())
        return self._parts.get(part)

    def _read(self, some: Collection[_Part], whole: Collection[int]) -> None:
        """Read some parts of pieces, and all of the uploads in `whole`."""
        self._asked.update(some)
        parameters = (
            array_of([part[0] & SHARD_OF_UPLOAD for part in some]),
            *[array_of([part[i] for part in some]) for i in range(4)],
            array_of([number & SHARD_OF_UPLOAD for number in whole]),
            array_of(whole),
        )
        cursor = self.connection.execute(_SELECT, parameters, binary=True)
        for number, piece_id, first, length, data in cursor.fetchall():
            if length is None:
                self._pieces[number, piece_id] = data
            else:
                self._parts[number, piece_id, first, length] = data


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


def _parts_between(image: Image, start: int, end: int) -> list[_Part]:
    """Return the parts of pieces that hold the bytes ``[start, end)``."""
    size = image.piece_size
    parts: list[_Part] = []
    for piece_id in range(start // size, -(-end // size)):
        offset = piece_id * size
        first = max(start - offset, 0)
        length = min(end - offset, size) - first
        parts.append((image.number, piece_id, first, length))
    return parts
