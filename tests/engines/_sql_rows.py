"""Stores images in the tables of a database, as the writer does."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec
from psycopg import sql

from asciid.engines.postgresql._sql_schema import SHARD_OF_UPLOAD
from tests.store._support import chunk_of, spec_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import psycopg

    from asciid.model import About, ImageSpec

__all__ = ["START", "Rows"]

START = 1_700_000_000_000
"""Milliseconds since the epoch."""


class Rows:
    """Adds rows with a `connection`; upload numbers count from 1."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.number = 0
        self._numbers = count(1)

    def add(
        self,
        data: bytes,
        chunk_size: int = 4,
        *,
        lacks: Collection[int] = (),
        about: About | None = None,
        **columns: object,
    ) -> ImageSpec:
        """
        Store an image, which is pending if it lacks chunks; `number` is its upload.

        It was registered as many milliseconds after `START` as its number, and all else
        was at that time; `columns` are others.
        """
        spec = spec_of(data, chunk_size)
        self.number = number = next(self._numbers)
        time = START + number
        digest = bytes.fromhex(spec.sha256)
        row = {
            "upload": number,
            "size": spec.size,
            "chunk_size": chunk_size,
            "piece_size": chunk_size,
            "missing": sum(map(spec.chunk_length, lacks)),
            "created": time,
            "active": time,
            "completed": None if lacks else time,
            "deadline": about.expires if about and about.expires else None,
            "shard": digest[0],
            "listed": about is None or about.listed,
            "sha256": digest,
            **columns,
        }
        self._insert("image", row)
        for chunk_id in range(spec.chunks):
            if chunk_id not in lacks:
                self.add_chunk(number, chunk_id, chunk_of(data, spec, chunk_id))
        if about is not None:
            self.add_about(number, msgspec.json.encode(about))
        return spec

    def add_chunk(self, number: int, chunk_id: int, data: bytes) -> None:
        """Store a chunk of an upload."""
        shard = number & SHARD_OF_UPLOAD
        row = {"upload": number, "id": chunk_id, "shard": shard, "data": data}
        self._insert("chunk", row)

    def add_about(self, number: int, about: bytes) -> None:
        """Store what is beside an upload; its revision is the number."""
        row = {
            "upload": number,
            "revision": number,
            "shard": number & SHARD_OF_UPLOAD,
            "about": about,
            "key_hash": b"key",
            "charset": "cp437",
        }
        self._insert("about", row)

    def block(self, sha256: str, reason: str = "spam") -> None:
        """Store that a hash is blocked."""
        self._insert("blocked", {"since": START, **_key(sha256), "reason": reason})

    def add_gone(self, sha256: str, at: int = START) -> None:
        """Store that an image has expired."""
        self._insert("gone", {"at": at, **_key(sha256)})

    def add_staged(self, active: int) -> int:
        """Store that an image is received; return its upload number."""
        number = next(self._numbers)
        shard = number & SHARD_OF_UPLOAD
        self._insert("staged", {"upload": number, "active": active, "shard": shard})
        return number

    def _insert(self, table: str, row: Mapping[str, object]) -> None:
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier("asciid", table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(sql.Placeholder() for _ in row),
        )
        self.connection.execute(statement, list(row.values()))


def _key(sha256: str) -> dict[str, object]:
    digest = bytes.fromhex(sha256)
    return {"shard": digest[0], "sha256": digest}
