"""
Writes what is copied from another storage to a database.

Nodes may be running: rows of ``image`` are the locks, as in their transactions, and are
inserted and locked in the order of the hash.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, LiteralString

import msgspec
import psycopg
from attrs import define, field

from asciid.engines.postgresql._database_source import (
    FOUND_COLUMNS,
    USE_INDEXES,
    shard_of,
    stored_upload,
)
from asciid.engines.postgresql._sql_arrays import ByteArray, array_of
from asciid.engines.postgresql._sql_schema import (
    NOW,
    SHARD_OF_UPLOAD,
    check_version,
)
from asciid.engines.postgresql.administration import DatabaseFailedError, connected
from asciid.errors import AsciidError
from asciid.model import BlockedHash
from asciid.store.transfer import DamagedUploadError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from asciid.engines.postgresql._connecting import Database
    from asciid.store.transfer import GoneHash, Pieces, StoredUpload

__all__ = ["DatabaseTarget", "NotReplicatedError", "StagedExpiredError", "open_target"]

_BEGIN: LiteralString = f"SET LOCAL synchronous_commit = on; {USE_INDEXES}"

_WARNING = "01000"
"""The SQLSTATE of the warning that a commit did not wait for its standby."""


class NotReplicatedError(AsciidError):
    """A commit was cancelled while it waited for the synchronous standby."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name}: a commit did not wait for the synchronous standby: "
            "run the command again"
        )


class StagedExpiredError(AsciidError):
    """A node has deleted a staged upload, as nothing was added to it for an hour."""

    def __init__(self) -> None:
        super().__init__("an image that was copied has expired: run the command again")


@contextmanager
def open_target(database: Database, name: str) -> Iterator[DatabaseTarget]:
    """
    Have a database to copy to; `name` is its name, for errors of the target.

    Errors: `StoreVersionError`, `DatabaseFailedError`.
    """
    with connected(database) as connection:
        check_version(connection)
        yield DatabaseTarget(connection, name)


@define(eq=False)
class DatabaseTarget:
    """The `ICopyTarget` of a database, on a connection in autocommit mode."""

    connection: psycopg.Connection[Any]
    name: str
    """That of the database, for errors."""
    _warned: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self.connection.add_notice_handler(self._notice)

    def reserve_numbers(self, below: int) -> None:
        """
        See `ICopyTarget.reserve_numbers`.

        This role must own the sequence, if that has not come so far.
        """
        with self._transaction() as cursor:
            if _last_number(cursor) >= below:
                return
            # Any change of the definition keeps nodes from taking numbers meanwhile.
            cursor.execute("ALTER SEQUENCE asciid.upload INCREMENT BY 1")
            if _last_number(cursor) < below:
                cursor.execute("SELECT setval('asciid.upload', %s)", (below,))

    def find(
        self, hashes: Sequence[str]
    ) -> Mapping[str, StoredUpload | DamagedUploadError]:
        """See `ICopyTarget.find`."""
        found: dict[str, StoredUpload | DamagedUploadError] = {}
        for row in self._find(_FIND, hashes):
            try:
                found[row[0].hex()] = stored_upload(row)
            except DamagedUploadError as error:
                found[error.sha256] = error.with_traceback(None)
        return found

    def find_blocked(self, hashes: Sequence[str]) -> Mapping[str, BlockedHash]:
        """See `ICopyTarget.find_blocked`."""
        found = [
            BlockedHash(digest.hex(), reason, since)
            for digest, reason, since in self._find(_FIND_BLOCKED, hashes)
        ]
        return {one.sha256: one for one in found}

    def add(self, uploads: Sequence[tuple[StoredUpload, Pieces]]) -> None:
        """See `ICopyTarget.add`."""
        with self._transaction() as cursor:
            # In this order, which is that of the listing.
            cursor.execute(
                "SELECT nextval('asciid.upload') FROM generate_series(1, %s)",
                (len(uploads),),
            )
            numbers = [number for (number,) in cursor.fetchall()]
            given = dict(zip(numbers, uploads, strict=True))
            numbered = {number: upload for number, (upload, _) in given.items()}
            added = _add_images(cursor, numbered)
            _add_pieces(
                cursor,
                [
                    (number, index, data)
                    for number in sorted(added)
                    for index, data in given[number][1]
                ],
            )

    def begin(self) -> int:
        """See `ICopyTarget.begin`."""
        with self._transaction() as cursor:
            cursor.execute("SELECT nextval('asciid.upload')")
            ((number,),) = cursor.fetchall()
            cursor.execute(
                f"INSERT INTO asciid.staged (shard, upload, active) "
                f"VALUES (%s, %s, {NOW})",
                (_shard_of_upload(number), number),
            )
        return int(number)

    def append(self, number: int, pieces: Pieces) -> None:
        """
        See `ICopyTarget.append`.

        Errors: `StagedExpiredError`.
        """
        with self._transaction() as cursor:
            cursor.execute(
                f"UPDATE asciid.staged SET active = {NOW} "
                f"WHERE shard = %s AND upload = %s",
                (_shard_of_upload(number), number),
            )
            _require(cursor)
            _add_pieces(cursor, [(number, index, data) for index, data in pieces])

    def finish(self, number: int, upload: StoredUpload) -> None:
        """
        See `ICopyTarget.finish`.

        Errors: `StagedExpiredError`.
        """
        with self._transaction() as cursor:
            added = _add_images(cursor, {number: upload})
            _end_staged(cursor, number)
            _require(cursor)
            if not added:
                _discard(cursor, [number])

    def abandon(self, number: int) -> None:
        """See `ICopyTarget.abandon`."""
        with self._transaction() as cursor:
            _end_staged(cursor, number)
            if cursor.rowcount:
                _discard(cursor, [number])

    def add_blocked(self, blocked: Sequence[BlockedHash]) -> None:
        """See `ICopyTarget.add_blocked`."""
        digests = [bytes.fromhex(one.sha256) for one in blocked]
        with self._transaction() as cursor:
            # Rows that keep nodes from storing these hashes meanwhile.
            cursor.execute(
                """
                INSERT INTO asciid.image (
                    shard, sha256, upload, size, chunk_size, piece_size, missing,
                    created, active, listed
                )
                SELECT shard, sha256, -1, 0, 1, 1, 0, 0, 0, false
                FROM unnest(%s::smallint[], %s::bytea[]) AS u (shard, sha256)
                ORDER BY sha256
                ON CONFLICT DO NOTHING RETURNING sha256
                """,
                _keys(digests),
            )
            free = {digest for (digest,) in cursor.fetchall()}
            added = [
                (digest, one)
                for digest, one in zip(digests, blocked, strict=True)
                if digest in free
            ]
            keys = _keys([digest for digest, _ in added])
            cursor.execute(
                """
                INSERT INTO asciid.blocked (shard, sha256, reason, since)
                SELECT * FROM unnest(
                    %s::smallint[], %s::bytea[], %s::text[], %s::bigint[]
                )
                ON CONFLICT DO NOTHING
                """,
                (
                    *keys,
                    [one.reason for _, one in added],
                    array_of([one.since for _, one in added]),
                ),
            )
            _delete_images(cursor, list(free))

    def add_gone(self, gone: Sequence[GoneHash]) -> None:
        """See `ICopyTarget.add_gone`."""
        digests = [bytes.fromhex(one.sha256) for one in gone]
        with self._transaction() as cursor:
            cursor.execute(
                """
                INSERT INTO asciid.gone (shard, sha256, at)
                SELECT * FROM unnest(%s::smallint[], %s::bytea[], %s::bigint[])
                ORDER BY 2
                ON CONFLICT DO NOTHING
                """,
                (*_keys(digests), array_of([one.removed for one in gone])),
            )

    def tidy(self) -> None:
        """See `ICopyTarget.tidy`: the nodes do that."""

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Cursor[Any]]:
        """
        Have a transaction that is replicated once the context ends.

        Errors: `NotReplicatedError`, `DatabaseFailedError`.
        """
        try:
            with (
                self.connection.transaction(),
                self.connection.cursor(binary=True) as cursor,
            ):
                self.connection.execute(_BEGIN)
                yield cursor
        except psycopg.Error as error:
            raise DatabaseFailedError(error, self.name) from error
        if self._warned:
            raise NotReplicatedError(self.name)

    def _notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        self._warned = self._warned or diagnostic.sqlstate == _WARNING

    def _find(
        self, query: LiteralString, hashes: Sequence[str]
    ) -> list[tuple[Any, ...]]:
        with self._transaction() as cursor:
            digests = [bytes.fromhex(one) for one in hashes]
            return cursor.execute(query, _keys(digests)).fetchall()


_FIND: LiteralString = f"""
    SELECT {FOUND_COLUMNS}
    FROM unnest(%s::smallint[], %s::bytea[]) AS u (shard, sha256)
    JOIN asciid.image AS i USING (shard, sha256)
    LEFT JOIN asciid.about AS a
    ON a.upload = i.upload AND a.shard = i.upload & {SHARD_OF_UPLOAD}
"""

_FIND_BLOCKED: LiteralString = """
    SELECT b.sha256, b.reason, b.since
    FROM unnest(%s::smallint[], %s::bytea[]) AS u (shard, sha256)
    JOIN asciid.blocked AS b USING (shard, sha256)
"""

_COLUMNS: LiteralString = """
    shard, sha256, upload, size, chunk_size, piece_size, missing, created, active,
    completed, deadline, listed
"""

_IMAGES: LiteralString = f"""
    unnest(
        %s::smallint[], %s::bytea[], %s::bigint[], %s::bigint[], %s::bigint[],
        %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
        %s::bigint[], %s::boolean[]
    ) AS u ({_COLUMNS})
"""

_INSERT_IMAGES: LiteralString = f"""
    INSERT INTO asciid.image ({_COLUMNS}) SELECT * FROM {_IMAGES} ORDER BY sha256
    ON CONFLICT DO NOTHING RETURNING upload
"""

# Nodes that wait for a row find it then; they would not if it were deleted instead.
_REPLACE_IMAGES: LiteralString = f"""
    UPDATE asciid.image AS i SET ({_COLUMNS}) = ROW (u.*) FROM {_IMAGES}
    WHERE (i.shard, i.sha256) = (u.shard, u.sha256) AND i.completed IS NULL
    RETURNING i.upload
"""


def _add_images(
    cursor: psycopg.Cursor[Any], numbered: Mapping[int, StoredUpload]
) -> set[int]:
    """
    Insert the rows of uploads, and those beside them; return which were inserted.

    Their bytes may follow in the same transaction.
    """
    added = _insert_images(cursor, numbered)
    refused = {
        number: upload
        for number, upload in numbered.items()
        if number not in added and upload.completed is not None
    }
    if refused:
        added |= _replace_pending(cursor, refused)
        # Others may have been removed since.
        rest = {number: refused[number] for number in refused.keys() - added}
        if rest:
            added |= _insert_images(cursor, rest)
    added -= _remove_blocked(cursor, {number: numbered[number] for number in added})
    records = [
        (number, upload.record)
        for number, upload in numbered.items()
        if number in added and upload.record is not None
    ]
    if records:
        numbers, values = zip(*records, strict=True)
        cursor.execute(
            """
            INSERT INTO asciid.about (
                shard, upload, revision, about, key_hash, charset
            )
            SELECT * FROM unnest(
                %s::smallint[], %s::bigint[], %s::bigint[], %s::bytea[], %s::bytea[],
                %s::text[]
            )
            """,
            (
                *_places(numbers),
                array_of([record.revision for record in values]),
                ByteArray([msgspec.json.encode(record.about) for record in values]),
                ByteArray([record.key_hash for record in values]),
                [record.charset for record in values],
            ),
        )
    return added


def _insert_images(
    cursor: psycopg.Cursor[Any], numbered: Mapping[int, StoredUpload]
) -> set[int]:
    """Insert rows for hashes that have none; return the numbers of those."""
    cursor.execute(_INSERT_IMAGES, _image_columns(numbered))
    return {number for (number,) in cursor.fetchall()}


def _image_columns(numbered: Mapping[int, StoredUpload]) -> tuple[object, ...]:
    """Return the arrays of `_IMAGES`."""
    uploads = list(numbered.values())
    abouts = [None if one.record is None else one.record.about for one in uploads]
    return (
        *_keys(_digests(uploads)),
        array_of(numbered),
        array_of([one.spec.size for one in uploads]),
        array_of([one.spec.chunk_size for one in uploads]),
        array_of([one.piece_size for one in uploads]),
        array_of([one.missing for one in uploads]),
        array_of([one.created for one in uploads]),
        array_of([one.active for one in uploads]),
        array_of([one.completed for one in uploads]),
        array_of([None if one is None else one.expires or None for one in abouts]),
        array_of([one is None or one.listed for one in abouts]),
    )


def _replace_pending(
    cursor: psycopg.Cursor[Any], numbered: Mapping[int, StoredUpload]
) -> set[int]:
    """Put uploads in the place of pending ones; return the numbers of those."""
    cursor.execute(
        """
        SELECT i.upload
        FROM unnest(%s::smallint[], %s::bytea[]) AS u (shard, sha256)
        JOIN asciid.image AS i USING (shard, sha256)
        WHERE i.completed IS NULL
        ORDER BY i.sha256 FOR UPDATE OF i
        """,
        _keys(_digests(list(numbered.values()))),
    )
    pending = [number for (number,) in cursor.fetchall()]
    if not pending:
        return set()
    _discard(cursor, pending)
    cursor.execute(
        """
        DELETE FROM asciid.about AS a
        USING unnest(%s::smallint[], %s::bigint[]) AS u (shard, upload)
        WHERE (a.shard, a.upload) = (u.shard, u.upload)
        """,
        _places(pending),
    )
    cursor.execute(_REPLACE_IMAGES, _image_columns(numbered))
    return {number for (number,) in cursor.fetchall()}


def _remove_blocked(
    cursor: psycopg.Cursor[Any], numbered: Mapping[int, StoredUpload]
) -> set[int]:
    """Remove inserted rows of blocked hashes again; return their numbers."""
    digests = _digests(list(numbered.values()))
    # Only now, as the rows that were inserted keep others from blocking these hashes.
    blocked = {
        row[0] for row in cursor.execute(_FIND_BLOCKED, _keys(digests)).fetchall()
    }
    if blocked:
        _delete_images(cursor, list(blocked))
    return {
        number
        for number, digest in zip(numbered, digests, strict=True)
        if digest in blocked
    }


def _delete_images(cursor: psycopg.Cursor[Any], digests: Sequence[bytes]) -> None:
    cursor.execute(
        """
        DELETE FROM asciid.image AS i
        USING unnest(%s::smallint[], %s::bytea[]) AS u (shard, sha256)
        WHERE (i.shard, i.sha256) = (u.shard, u.sha256)
        """,
        _keys(digests),
    )


def _add_pieces(
    cursor: psycopg.Cursor[Any], pieces: Sequence[tuple[int, int, bytes]]
) -> None:
    """Insert pieces: number of the upload, id, bytes."""
    if not pieces:
        return
    numbers, ids, data = zip(*pieces, strict=True)
    cursor.execute(
        """
        INSERT INTO asciid.chunk (shard, upload, id, data)
        SELECT * FROM unnest(
            %s::smallint[], %s::bigint[], %s::bigint[], %s::bytea[]
        )
        """,
        (*_places(numbers), array_of(ids), ByteArray(data)),
    )


def _end_staged(cursor: psycopg.Cursor[Any], number: int) -> None:
    cursor.execute(
        "DELETE FROM asciid.staged WHERE shard = %s AND upload = %s",
        (_shard_of_upload(number), number),
    )


def _discard(cursor: psycopg.Cursor[Any], numbers: Sequence[int]) -> None:
    cursor.execute(
        """
        INSERT INTO asciid.discarded (shard, upload)
        SELECT * FROM unnest(%s::smallint[], %s::bigint[])
        """,
        _places(numbers),
    )


def _require(cursor: psycopg.Cursor[Any]) -> None:
    """Check that the staged upload was there, by the last statement."""
    if not cursor.rowcount:
        raise StagedExpiredError


def _last_number(cursor: psycopg.Cursor[Any]) -> int:
    cursor.execute("SELECT last_value FROM asciid.upload")
    ((number,),) = cursor.fetchall()
    return int(number)


def _keys(digests: Sequence[bytes]) -> tuple[str, ByteArray]:
    """Return shards and hashes, as arrays."""
    return array_of([shard_of(one) for one in digests]), ByteArray(digests)


def _places(numbers: Sequence[int]) -> tuple[str, str]:
    """Return shards and numbers of uploads, as arrays."""
    return array_of(map(_shard_of_upload, numbers)), array_of(numbers)


def _shard_of_upload(number: int) -> int:
    return number & SHARD_OF_UPLOAD


def _digests(uploads: Sequence[StoredUpload]) -> list[bytes]:
    return [bytes.fromhex(upload.spec.sha256) for upload in uploads]
