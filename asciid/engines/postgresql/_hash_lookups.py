"""
Answers queries on images by their hash: those of one kind by one statement.

A statement has one row for each of its queries, in no order; the first column is the
place of the query, from 1.  All that an answer needs is in its row, the reason of a
refusal included, so that it is of one state.
"""

from __future__ import annotations

from hashlib import sha256 as sha256_of
from typing import TYPE_CHECKING, Any, LiteralString

import msgspec
from attrs import frozen

from asciid.engines.postgresql._damage import damaged
from asciid.engines.postgresql._listed_images import (
    ABOUT_COLUMNS,
    JOIN_ABOUT,
    LISTED_COLUMNS,
    LISTED_WIDTH,
    about_of,
    listed_image,
)
from asciid.errors import (
    ImageBlockedError,
    ImageGoneError,
    ImageIncompleteError,
    ImageNotFoundError,
)
from asciid.model import ImageSpec
from asciid.store.queries import (
    FindComplete,
    FindNeighbours,
    Found,
    IsComplete,
    ReadAbout,
    StoredImage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from asciid.errors import AsciidError
    from asciid.model import AboutRecord, ListedImage
    from asciid.store.queries import Query

__all__ = ["IMAGES", "LOOKUPS", "REFUSAL", "Lookup", "refusal"]

REFUSAL: LiteralString = """
  CASE WHEN i.upload IS NULL THEN (
    SELECT b.reason FROM asciid.blocked b
    WHERE b.shard = w.shard AND b.sha256 = w.sha256) END,
  CASE WHEN i.upload IS NULL THEN (
    SELECT true FROM asciid.gone g
    WHERE g.shard = w.shard AND g.sha256 = w.sha256) END
"""
"""What `refusal` needs, where there may be no image ``i`` of the hash ``w``."""

# The LIMIT has each image looked up in the index, however the planner estimates.
IMAGES: LiteralString = """
FROM (
  SELECT at, get_byte(sha256, 0)::smallint AS shard, sha256, up_to
  FROM unnest(%b::bytea[], %b::bigint[])
    WITH ORDINALITY AS asked (sha256, up_to, at)
) w
LEFT JOIN LATERAL (
  SELECT * FROM asciid.image
  WHERE image.shard = w.shard AND image.sha256 = w.sha256 LIMIT 1
) i ON true
"""
"""The hashes ``w``, each with its image ``i``, if there is one."""

_FIND = f"""
SELECT w.at, {REFUSAL}, i.upload, i.completed, i.size, i.chunk_size, i.piece_size,
  CASE WHEN i.completed IS NOT NULL AND i.size <= w.up_to THEN (
    SELECT string_agg(c.data, '' ORDER BY c.id) FROM asciid.chunk c
    WHERE c.shard = (i.upload & 255)::smallint AND c.upload = i.upload
      AND c.id * i.piece_size < i.size) END
{IMAGES}
"""

_IS_COMPLETE = f"SELECT w.at, {REFUSAL}, i.upload, i.completed {IMAGES}"

_ABOUT = f"SELECT w.at, {REFUSAL}, i.upload, {ABOUT_COLUMNS} {IMAGES} {JOIN_ABOUT}"

_BESIDE: LiteralString = f"""
LEFT JOIN LATERAL (
  SELECT {LISTED_COLUMNS} FROM asciid.image i {JOIN_ABOUT}
  WHERE own.listed AND i.listed AND i.completed IS NOT NULL
    AND (i.completed, i.upload) {{}} (own.completed, own.upload)
  ORDER BY i.completed {{}}, i.upload {{}} LIMIT 1
) {{}} ON true
"""

_NEIGHBOURS = f"""
SELECT own.at, own.reason, own.is_gone, own.upload, own.completed, newer.*, older.*
FROM (
  SELECT w.at, {REFUSAL}, i.upload, i.completed, i.listed {IMAGES}
) AS own (at, reason, is_gone, upload, completed, listed)
{_BESIDE.format(">", "ASC", "ASC", "newer")}
{_BESIDE.format("<", "DESC", "DESC", "older")}
"""


@frozen
class Lookup:
    """How queries of a kind are answered."""

    statement: LiteralString
    answer: Callable[[Any, Sequence[Any]], Any]
    """
    Makes the answer to a query of its row, without the place.

    Errors: those of the query, `StorageUnreadableError`.
    """

    def parameters(self, queries: Sequence[Any]) -> tuple[list[bytes], list[int]]:
        """Return the parameters of the statement."""
        digests = [bytes.fromhex(query.sha256) for query in queries]
        return digests, [getattr(query, "up_to", 0) for query in queries]


def refusal(sha256: str, reason: str | None, is_gone: bool | None) -> AsciidError:  # noqa: FBT001 - a column
    """Return the error for an image that is not registered."""
    if reason is not None:
        return ImageBlockedError(reason)
    return ImageGoneError(sha256) if is_gone else ImageNotFoundError(sha256)


def _find_complete(query: FindComplete, row: Sequence[Any]) -> Found:
    reason, is_gone, number, completed, size, chunk_size, piece_size, content = row
    sha256 = query.sha256
    if number is None:
        raise refusal(sha256, reason, is_gone)
    if completed is None:
        raise ImageIncompleteError(sha256)
    if size <= query.up_to:
        content = content or b""
        # It might stay in the cache for long.
        if sha256_of(content).hexdigest() != sha256:
            raise damaged(sha256)
    spec = ImageSpec(sha256, size, chunk_size)
    return Found(StoredImage(spec, number, piece_size, completed / 1000), content)


def _is_complete(_: IsComplete, row: Sequence[Any]) -> bool:
    reason, _is_gone, _number, completed = row
    if reason is not None:
        raise ImageBlockedError(reason)
    return completed is not None


def _read_about(query: ReadAbout, row: Sequence[Any]) -> AboutRecord:
    reason, is_gone, number, *about = row
    if number is None:
        raise refusal(query.sha256, reason, is_gone)
    try:
        return about_of(number, *about)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise damaged(query.sha256) from error


def _find_neighbours(
    query: FindNeighbours, row: Sequence[Any]
) -> tuple[ListedImage | None, ListedImage | None]:
    reason, is_gone, number, completed, *beside = row
    if number is None:
        raise refusal(query.sha256, reason, is_gone)
    if completed is None:
        raise ImageIncompleteError(query.sha256)
    return _beside(beside[:LISTED_WIDTH]), _beside(beside[LISTED_WIDTH:])


def _beside(columns: Sequence[Any]) -> ListedImage | None:
    number = columns[0]
    return None if number is None else next(listed_image(columns), None)


LOOKUPS: Mapping[type[Query[Any]], Lookup] = {
    FindComplete: Lookup(_FIND, _find_complete),
    FindNeighbours: Lookup(_NEIGHBOURS, _find_neighbours),
    IsComplete: Lookup(_IS_COMPLETE, _is_complete),
    ReadAbout: Lookup(_ABOUT, _read_about),
}
"""By the type of the queries."""
