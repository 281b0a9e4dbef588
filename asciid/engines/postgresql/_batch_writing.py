"""The last statements of a transaction: they write what its operations changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString, TypeVar

import msgspec
from attrs import define

from asciid.engines.postgresql._sql_arrays import ByteArray, array_of
from asciid.engines.postgresql._sql_schema import SHARD_OF_UPLOAD

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    import psycopg

    from asciid.engines.postgresql._image_state import BatchState, Image
    from asciid.model import AboutRecord

__all__ = ["Writing"]

KeyT = TypeVar("KeyT", str, int)
ValueT = TypeVar("ValueT")

_OF_HASH: LiteralString = "shard = get_byte(u.sha256, 0) AND t.sha256 = u.sha256"
_OF_UPLOAD: LiteralString = "t.shard = u.shard AND t.upload = u.upload"
_HASHES: LiteralString = """
(SELECT decode(hex, 'hex') AS sha256 FROM unnest(%s::text[]) AS hex) AS u
"""
_UPLOADS: LiteralString = "unnest(%s::smallint[], %s::bigint[]) AS u(shard, upload)"

_REPLACE: LiteralString = f"""
UPDATE asciid.image t SET upload = u.upload, size = u.size,
    chunk_size = u.chunk_size, piece_size = u.piece_size, missing = u.missing,
    created = u.created, active = u.active, completed = u.completed,
    deadline = u.deadline, listed = u.listed
FROM (
    SELECT decode(hex, 'hex') AS sha256, v.* FROM unnest(
        %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
        %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
        %s::boolean[]
    ) AS v(
        hex, upload, size, chunk_size, piece_size, missing,
        created, active, completed, deadline, listed
    )
) AS u WHERE t.{_OF_HASH}
"""
_DELETE_IMAGES: LiteralString = (
    f"DELETE FROM asciid.image t USING {_HASHES} WHERE t.{_OF_HASH}"
)
_PUT_CHUNKS: LiteralString = """
INSERT INTO asciid.chunk (shard, upload, id, data)
SELECT * FROM unnest(%s::smallint[], %s::bigint[], %s::bigint[], %s)
"""
# A piece of a staged image may be sent again.
_PUT_PIECES: LiteralString = f"""
{_PUT_CHUNKS} ON CONFLICT (shard, upload, id) DO UPDATE SET data = excluded.data
"""
_PROGRESS: LiteralString = f"""
WITH put AS ({_PUT_CHUNKS})
UPDATE asciid.image t SET missing = u.missing, active = %s, completed = u.completed
FROM (
    SELECT decode(hex, 'hex') AS sha256, missing, completed
    FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS v(hex, missing, completed)
) AS u WHERE t.{_OF_HASH}
"""
_DISCARD: LiteralString = f"""
INSERT INTO asciid.discarded (shard, upload) SELECT shard, upload FROM {_UPLOADS}
"""
_PUT_STAGED: LiteralString = """
INSERT INTO asciid.staged (shard, upload, active)
SELECT * FROM unnest(%s::smallint[], %s::bigint[], %s::bigint[])
ON CONFLICT (shard, upload) DO UPDATE SET active = excluded.active
"""
_DELETE_STAGED: LiteralString = (
    f"DELETE FROM asciid.staged t USING {_UPLOADS} WHERE {_OF_UPLOAD}"
)
_PUT_ABOUTS: LiteralString = """
INSERT INTO asciid.about (shard, upload, revision, about, key_hash, charset)
SELECT * FROM unnest(%s::smallint[], %s::bigint[], %s::bigint[], %s, %s, %s::text[])
ON CONFLICT (shard, upload) DO UPDATE SET revision = excluded.revision,
    about = excluded.about, key_hash = excluded.key_hash, charset = excluded.charset
"""
_DELETE_ABOUTS: LiteralString = (
    f"DELETE FROM asciid.about t USING {_UPLOADS} WHERE {_OF_UPLOAD}"
)
_PUT_GONE: LiteralString = """
INSERT INTO asciid.gone (shard, sha256, at)
SELECT get_byte(decode(hex, 'hex'), 0), decode(hex, 'hex'), at
FROM unnest(%s::text[], %s::bigint[]) AS u(hex, at)
ON CONFLICT (shard, sha256) DO UPDATE SET at = excluded.at
"""
_DELETE_GONE: LiteralString = (
    f"DELETE FROM asciid.gone t USING {_HASHES} WHERE t.{_OF_HASH}"
)
_PUT_BLOCKED: LiteralString = """
INSERT INTO asciid.blocked (shard, sha256, since, reason)
SELECT get_byte(decode(hex, 'hex'), 0), decode(hex, 'hex'), since, reason
FROM unnest(%s::text[], %s::bigint[], %s::text[]) AS u(hex, since, reason)
ON CONFLICT (shard, sha256)
DO UPDATE SET since = excluded.since, reason = excluded.reason
"""
_DELETE_BLOCKED: LiteralString = (
    f"DELETE FROM asciid.blocked t USING {_HASHES} WHERE t.{_OF_HASH}"
)

_NO_CHUNKS = array_of(()), array_of(()), array_of(()), ByteArray(())

_encode_about = msgspec.json.Encoder().encode


@define(eq=False)
class Writing:
    """Sends the statements that write a `BatchState`; their results need no reading."""

    connection: psycopg.Connection[Any]

    def write(self, state: BatchState) -> None:
        """Write everything that was changed."""
        self._write_images(state)
        pieces = [image for image in state.images.values() if image.overwrites]
        columns = _chunk_columns([*pieces, *state.staged.values()])
        if columns:
            self.connection.execute(_PUT_PIECES, columns)
        if state.discarded:
            self._for_uploads(_DISCARD, state.discarded)
        if state.changed_staged:
            self._write_staged(state)
        if state.changed_abouts:
            self._write_abouts(state)
        if state.changed_gone:
            self._write_gone(state)
        if state.changed_blocked:
            self._write_blocked(state)

    def _write_images(self, state: BatchState) -> None:
        rows = state.rows.keys() | state.added.keys()
        deleted = rows - state.images.keys()
        progressed: list[tuple[object, ...]] = []
        replaced: list[tuple[object, ...]] = []
        for sha256, image in state.images.items():
            if image is not state.rows.get(sha256) or image.described:
                if image.columns != state.added.get(sha256):
                    replaced.append((sha256, *image.columns))
            elif image.changed:
                progressed.append((sha256, image.missing, image.completed))
        if deleted:
            self.connection.execute(_DELETE_IMAGES, (array_of(deleted),))
        if replaced:
            self.connection.execute(_REPLACE, _arrays(replaced))
        images = [image for image in state.images.values() if not image.overwrites]
        chunks = _chunk_columns(images)
        if progressed:
            parameters = *(chunks or _NO_CHUNKS), state.now, *_arrays(progressed)
            self.connection.execute(_PROGRESS, parameters)
        elif chunks:
            self.connection.execute(_PUT_CHUNKS, chunks)

    def _write_staged(self, state: BatchState) -> None:
        rows: list[tuple[int, int, int]] = []
        deleted: list[int] = []
        for number in sorted(state.changed_staged):
            staged = state.staged.get(number)
            if staged is None:
                deleted.append(number)
            else:
                rows.append((number & SHARD_OF_UPLOAD, number, staged.active))
        if rows:
            self.connection.execute(_PUT_STAGED, _arrays(rows))
        if deleted:
            self._for_uploads(_DELETE_STAGED, deleted)

    def _write_abouts(self, state: BatchState) -> None:
        deleted, records = _split(state.changed_abouts, state.abouts)
        if records:
            self.connection.execute(_PUT_ABOUTS, _about_columns(records))
        if deleted:
            self._for_uploads(_DELETE_ABOUTS, deleted)

    def _write_gone(self, state: BatchState) -> None:
        deleted, gone = _split(state.changed_gone, state.gone)
        if gone:
            self.connection.execute(_PUT_GONE, _arrays(gone.items()))
        if deleted:
            self.connection.execute(_DELETE_GONE, (array_of(deleted),))

    def _write_blocked(self, state: BatchState) -> None:
        deleted, blocked = _split(state.changed_blocked, state.blocked)
        if blocked:
            reasons = [one.reason for one in blocked.values()]
            times = array_of([one.since for one in blocked.values()])
            parameters = array_of(blocked), times, reasons
            self.connection.execute(_PUT_BLOCKED, parameters)
        if deleted:
            self.connection.execute(_DELETE_BLOCKED, (array_of(deleted),))

    def _for_uploads(self, statement: LiteralString, numbers: Collection[int]) -> None:
        rows = [(number & SHARD_OF_UPLOAD, number) for number in sorted(numbers)]
        self.connection.execute(statement, _arrays(rows))


def _arrays(rows: Iterable[tuple[object, ...]]) -> list[str]:
    """Return an array for each column."""
    return [array_of(column) for column in zip(*rows, strict=True)]


def _chunk_columns(images: Iterable[Image]) -> tuple[object, ...] | None:
    """Return the arrays of the pieces of images, or None if there are none."""
    keys: list[tuple[int, int, int]] = []
    data: list[bytes] = []
    for image in images:
        number, pieces = image.number, image.pieces
        shard = number & SHARD_OF_UPLOAD
        keys += [(shard, number, piece_id) for piece_id in pieces]
        data += pieces.values()
    return (*_arrays(keys), ByteArray(data)) if keys else None


def _about_columns(records: Mapping[int, AboutRecord]) -> tuple[object, ...]:
    rows = [
        (number & SHARD_OF_UPLOAD, number, record.revision)
        for number, record in records.items()
    ]
    return (
        *_arrays(rows),
        ByteArray([_encode_about(record.about) for record in records.values()]),
        ByteArray([record.key_hash for record in records.values()]),
        [record.charset for record in records.values()],
    )


def _split(
    changed: Iterable[KeyT], there: Mapping[KeyT, ValueT]
) -> tuple[list[KeyT], dict[KeyT, ValueT]]:
    """Return the keys of `changed` that are not there any more, and the others."""
    ordered = sorted(changed)
    deleted = [key for key in ordered if key not in there]
    return deleted, {key: there[key] for key in ordered if key in there}
