"""Reads every complete image again and checks that its bytes have its hash."""

from __future__ import annotations

from hashlib import sha256 as sha256_of
from typing import TYPE_CHECKING, Any, LiteralString, NamedTuple, Protocol

import psycopg
from attrs import define, field
from psycopg.errors import IoError

from asciid.engines._findings import Damaged, StorageDamagedError, most_damaged
from asciid.engines.postgresql._chunk_reads import Chunks
from asciid.engines.postgresql._connecting import one_line
from asciid.engines.postgresql._database_usage import measure_usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["ImageChecks", "Pace", "is_registered"]

PAGE = 100
"""How many image rows one statement reads."""

SMALL = 64 * 1024
"""Images up to so many bytes are read together, ..."""

TOGETHER = 1024 * 1024
"""... up to so many bytes."""

DAMAGE = (psycopg.DataError, psycopg.InternalError, IoError)
"""Errors of the database that concern what was read; others end the walk."""

_IMAGES: LiteralString = """
SELECT sha256, upload, size, piece_size FROM asciid.image
WHERE completed IS NOT NULL AND (shard, sha256) > (%b, %b)
ORDER BY shard, sha256 LIMIT %b
"""

_CONTENTS: LiteralString = """
SELECT at, (
  SELECT string_agg(c.data, '' ORDER BY c.id) FROM asciid.chunk c
  WHERE c.shard = (asked.upload & 255)::smallint AND c.upload = asked.upload)
FROM unnest(%b::bigint[]) WITH ORDINALITY AS asked (upload, at) ORDER BY at
"""

_REGISTERED: LiteralString = """
SELECT FROM asciid.image WHERE shard = %b AND sha256 = %b AND upload = %b
"""


class Pace(Protocol):
    """Counts the bytes that were read, and waits if those were many."""

    def __call__(self, size: int, /) -> None:
        """Count `size` bytes."""


class _Image(NamedTuple):
    digest: bytes
    number: int
    size: int
    piece_size: int


@define
class ImageChecks:
    """
    One walk over the complete images of a database, which nodes may change during it.

    `pace` is called with the size of every part that was read.  `put_aside` is called
    with the hash and the upload of a damaged image, and returns False if that was
    removed meanwhile.
    """

    connection: psycopg.Connection[Any]
    pace: Pace
    put_aside: Callable[[bytes, int], bool]
    max_damaged: float = field(default=1.0, kw_only=True)
    """The fraction of the images that may be damaged; see `most_damaged`."""
    images: int = field(init=False, default=0)
    """How many images were read."""
    size: int = field(init=False, default=0)
    """How many bytes they had."""

    def run(self) -> Iterator[Damaged]:
        """
        Yield damaged images.

        Errors: `StorageDamagedError` past `max_damaged`; `psycopg.Error` if the
        database cannot be read at all.
        """
        bound = most_damaged(measure_usage(self.connection).images, self.max_damaged)
        damaged = 0
        for image, reason in self._damaged():
            if damaged >= bound and self.max_damaged < 1:
                raise StorageDamagedError(damaged, self.max_damaged)
            if self.put_aside(image.digest, image.number):
                damaged += 1
                yield Damaged(image.digest.hex(), reason)

    def _damaged(self) -> Iterator[tuple[_Image, str]]:
        start = (-1, b"")
        while True:
            with self.connection.cursor(binary=True) as cursor:
                rows = cursor.execute(_IMAGES, (*start, PAGE)).fetchall()
            for group in _groups([_Image(*row) for row in rows]):
                for image, reason in zip(group, self._check(group), strict=True):
                    if reason:
                        yield image, reason
            if len(rows) < PAGE:
                return
            digest = rows[-1][0]
            start = digest[0], digest

    def _check(self, images: Sequence[_Image]) -> list[str]:
        """Return the damage of each image; empty if it has none."""
        if len(images) == 1:
            return [self._check_one(images[0])]
        try:
            with self.connection.cursor(binary=True) as cursor:
                numbers = [image.number for image in images]
                rows = cursor.execute(_CONTENTS, (numbers,)).fetchall()
        except DAMAGE:
            return [self._check_one(image) for image in images]
        contents = [content or b"" for _, content in rows]
        self.pace(sum(map(len, contents)))
        return [
            self._verdict(image, len(content), sha256_of(content).hexdigest())
            for image, content in zip(images, contents, strict=True)
        ]

    def _check_one(self, image: _Image) -> str:
        """Check an image of any size, in pieces."""
        if image.piece_size < 1:
            return "its record cannot be read"
        digest, size = sha256_of(), 0
        pieces = -(-image.size // image.piece_size)
        chunks = Chunks(self.connection, image.number, image.piece_size)
        try:
            # One more than it has, so that this is noticed, too.
            for expected, (chunk_id, data) in enumerate(chunks.between(0, pieces + 1)):
                if chunk_id != expected:
                    break
                digest.update(data)
                size += len(data)
                self.pace(len(data))
        except DAMAGE as error:
            return f"it cannot be read: {one_line(error)}"
        return self._verdict(image, size, digest.hexdigest())

    def _verdict(self, image: _Image, size: int, actual: str) -> str:
        self.images += 1
        self.size += size
        if size != image.size:
            return f"{size} of its {image.size} bytes are there"
        if actual != image.digest.hex():
            return f"its bytes have the hash {actual}"
        return ""


def is_registered(
    connection: psycopg.Connection[Any], digest: bytes, number: int
) -> bool:
    """Return whether an image is still that upload: a `put_aside` without effect."""
    key = digest[0], digest, number
    return connection.execute(_REGISTERED, key).fetchone() is not None


def _groups(images: Sequence[_Image]) -> Iterator[list[_Image]]:
    """Yield the images, small ones together."""
    group: list[_Image] = []
    size = 0
    for image in images:
        if image.size > SMALL:
            yield [image]
            continue
        if group and size + image.size > TOGETHER:
            yield group
            group, size = [], 0
        group.append(image)
        size += image.size
    if group:
        yield group
