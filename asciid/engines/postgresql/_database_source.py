"""Reads a database from beginning to end, to copy it into another storage."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, LiteralString

import msgspec
import psycopg
from attrs import frozen

from asciid.engines.postgresql._sql_arrays import array_of
from asciid.engines.postgresql._sql_schema import SHARD_OF_UPLOAD, check_version
from asciid.engines.postgresql.administration import DatabaseFailedError, connected
from asciid.model import About, AboutRecord, BlockedHash, ImageSpec
from asciid.store.transfer import DamagedUploadError, GoneHash, StoredUpload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from asciid.engines.postgresql._connecting import Database
    from asciid.store.transfer import Pieces

__all__ = [
    "FOUND_COLUMNS",
    "USE_INDEXES",
    "DatabaseSource",
    "open_source",
    "shard_of",
    "stored_upload",
]

PAGE = 500
"""How many rows of metadata are read at once."""

STEP = 4 * 1024 * 1024
"""How many bytes of a large image are read at once ..."""

STEP_PIECES = 4_000
"""... and how many pieces."""

USE_INDEXES: LiteralString = """
    SET LOCAL enable_seqscan = off;
    SET LOCAL enable_hashjoin = off;
    SET LOCAL enable_mergejoin = off;
    SET LOCAL jit = off;
"""
"""
Have a transaction find few rows by their keys, also in tables without statistics, as
those of a database that is being filled are.
"""

FOUND_COLUMNS: LiteralString = """
    i.sha256, i.upload, i.size, i.chunk_size, i.piece_size, i.missing, i.created,
    i.active, i.completed, a.about, a.revision, a.key_hash, a.charset
"""
"""What `stored_upload` takes, of ``asciid.image AS i`` and ``asciid.about AS a``."""

_FOUND: LiteralString = f"""
    SELECT {FOUND_COLUMNS}, i.shard
    FROM asciid.image AS i
    LEFT JOIN asciid.about AS a
    ON a.upload = i.upload AND a.shard = i.upload & {SHARD_OF_UPLOAD}
"""


@contextmanager
def open_source(database: Database, name: str) -> Iterator[DatabaseSource]:
    """
    Have a snapshot of a database, for as long as the context lasts.

    Nodes may be running: what they change meanwhile is not in it.  `name` is that of
    the database, for errors of the source.

    Errors: `StoreVersionError`, `DatabaseFailedError`.
    """
    with connected(database) as connection:
        check_version(connection)
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            # The target may take long over what it was given.
            connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            connection.execute(USE_INDEXES)
            yield DatabaseSource(connection, name)


@frozen
class DatabaseSource:
    """The `ICopySource` of a database, on a connection in a transaction."""

    connection: psycopg.Connection[Any]
    name: str
    """That of the database, for errors."""

    @property
    def next_number(self) -> int:
        """See `ICopySource.next_number`."""
        return 1 + self._number("SELECT last_value FROM asciid.upload")

    @property
    def total(self) -> int:
        """See `ICopySource.total`."""
        return self._number("SELECT count(*) FROM asciid.image")

    def listed(self) -> Iterator[Sequence[StoredUpload]]:
        """See `ICopySource.listed`."""
        query: LiteralString = f"""
            {_FOUND}
            WHERE i.listed AND i.completed IS NOT NULL
            AND (i.completed, i.upload) > (%s, %s)
            ORDER BY i.completed, i.upload LIMIT {PAGE}
        """
        place = -1, -1
        while rows := self._rows(query, *place):
            found = [_stored_or_damaged(row) for row in rows]
            yield [one for one in found if isinstance(one, StoredUpload)]
            place = rows[-1][8], rows[-1][1]

    def uploads(self) -> Iterator[Sequence[StoredUpload | DamagedUploadError]]:
        """See `ICopySource.uploads`."""
        query: LiteralString = f"""
            {_FOUND}
            WHERE (i.shard, i.sha256) > (%s, %s)
            ORDER BY i.shard, i.sha256 LIMIT {PAGE}
        """
        place = -1, b""
        while rows := self._rows(query, *place):
            yield [_stored_or_damaged(row) for row in rows]
            place = rows[-1][-1], rows[-1][0]

    def read(self, uploads: Sequence[StoredUpload]) -> Sequence[Pieces]:
        """See `ICopySource.read`."""
        pieces: dict[int, list[tuple[int, bytes]]]
        pieces = {upload.number: [] for upload in uploads}
        rows = self._chunks(
            uploads[0].spec.sha256,
            """
            SELECT c.upload, c.id, c.data
            FROM unnest(%s::smallint[], %s::bigint[]) AS u (shard, upload)
            JOIN asciid.chunk AS c USING (shard, upload)
            ORDER BY c.upload, c.id
            """,
            array_of([number & SHARD_OF_UPLOAD for number in pieces]),
            array_of(pieces),
        )
        for number, index, data in rows:
            pieces[number].append((index, data))
        return list(pieces.values())

    def stream(self, upload: StoredUpload) -> Iterator[Pieces]:
        """See `ICopySource.stream`."""
        at_once = max(1, min(STEP_PIECES, STEP // upload.piece_size))
        first = 0
        while pieces := self._chunks(
            upload.spec.sha256,
            """
            SELECT id, data FROM asciid.chunk
            WHERE shard = %s AND upload = %s AND id >= %s ORDER BY id LIMIT %s
            """,
            upload.number & SHARD_OF_UPLOAD,
            upload.number,
            first,
            at_once,
        ):
            yield pieces
            first = pieces[-1][0] + 1

    def blocked(self) -> Iterator[Sequence[BlockedHash | DamagedUploadError]]:
        """See `ICopySource.blocked`."""
        query: LiteralString = f"""
            SELECT sha256, reason, since, shard FROM asciid.blocked
            WHERE (shard, sha256) > (%s, %s) ORDER BY shard, sha256 LIMIT {PAGE}
        """
        place = -1, b""
        while rows := self._rows(query, *place):
            yield [BlockedHash(row[0].hex(), row[1], row[2]) for row in rows]
            place = rows[-1][-1], rows[-1][0]

    def gone(self) -> Iterator[Sequence[GoneHash]]:
        """See `ICopySource.gone`."""
        query: LiteralString = f"""
            SELECT sha256, at, shard FROM asciid.gone
            WHERE (shard, sha256) > (%s, %s) ORDER BY shard, sha256 LIMIT {PAGE}
        """
        place = -1, b""
        while rows := self._rows(query, *place):
            yield [GoneHash(row[0].hex(), row[1]) for row in rows]
            place = rows[-1][-1], rows[-1][0]

    def _number(self, query: LiteralString) -> int:
        ((number,),) = self._rows(query)
        return int(number)

    def _rows(self, query: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._fetch(query, *values)
        except psycopg.Error as error:
            raise DatabaseFailedError(error, self.name) from error

    def _fetch(self, query: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        with self.connection.cursor(binary=True) as cursor:
            return cursor.execute(query, values or None).fetchall()

    def _chunks(
        self, sha256: str, query: LiteralString, *values: object
    ) -> list[tuple[Any, ...]]:
        """
        Read rows that hold bytes of the image `sha256`, or of it and others.

        Errors: `DamagedUploadError`.
        """
        try:
            # A savepoint: the snapshot outlives a page that cannot be read.
            with self.connection.transaction():
                return self._fetch(query, *values)
        except (psycopg.InternalError, psycopg.DataError) as error:
            reason = f"it cannot be read: {' '.join(str(error).split())}"
            raise DamagedUploadError(sha256, reason) from error
        except psycopg.Error as error:
            raise DatabaseFailedError(error, self.name) from error


def shard_of(digest: bytes) -> int:
    """Return the shard of rows that have a hash in their key."""
    return digest[0]


def stored_upload(row: Sequence[Any]) -> StoredUpload:
    """
    Return the upload in a row of `FOUND_COLUMNS`.

    Errors: `DamagedUploadError` if that cannot be read.
    """
    digest, number, size, chunk_size, piece_size, missing = row[:6]
    created, active, completed, about, revision, key_hash, charset = row[6:13]
    record = None
    try:
        if about is not None:
            decoded = msgspec.json.decode(about, type=About)
            record = AboutRecord(decoded, revision, key_hash, charset)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        reason = "its about record cannot be read"
        raise DamagedUploadError(digest.hex(), reason) from error
    spec = ImageSpec(digest.hex(), size, chunk_size)
    times = created, active, completed
    return StoredUpload(spec, number, piece_size, missing, *times, record)


def _stored_or_damaged(row: Sequence[Any]) -> StoredUpload | DamagedUploadError:
    try:
        return stored_upload(row)
    except DamagedUploadError as error:
        return error.with_traceback(None)
