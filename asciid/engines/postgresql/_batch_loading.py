"""
The first statements of a transaction: they lock and read what its operations name.

Rows are inserted, and then locked, in the order of the hash, and nothing waits for a
lock after that: so transactions wait for each other in no circle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

import msgspec
import psycopg
from attrs import define, field

from asciid.engines.postgresql._image_state import BatchState, Image, deadline_of
from asciid.engines.postgresql._sql_arrays import array_of
from asciid.engines.postgresql._sql_schema import NOW, SHARD_OF_UPLOAD
from asciid.model import About, AboutRecord, BlockedHash, ImageSpec
from asciid.store.operations import (
    Abandon,
    AddChunk,
    AddPieces,
    Adopt,
    Begin,
    BlockHash,
    Finish,
    Put,
    Register,
    Remove,
    RemoveExpired,
    SetAbout,
    UnblockHash,
)
from asciid.store.rules import PIECE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from asciid.store.operations import AnyOperation

__all__ = ["Loading"]

# The row of an image that is registered needs no other write; where it is not
# registered after all, the row is deleted in the end.
_ADD: LiteralString = f"""
WITH numbered AS MATERIALIZED (
    SELECT u.*, nextval('asciid.upload') AS upload, decode(u.hex, 'hex') AS sha256
    FROM unnest(
        %s::text[], %s::bigint[], %s::bigint[], %s::boolean[], %s::boolean[],
        %s::bigint[]
    ) WITH ORDINALITY AS u(hex, size, chunk_size, complete, listed, deadline, place)
), added AS (
    INSERT INTO asciid.image (
        shard, sha256, upload, size, chunk_size, piece_size, missing,
        created, active, completed, deadline, listed
    )
    SELECT get_byte(sha256, 0), sha256, upload, size, chunk_size, chunk_size,
        CASE WHEN complete THEN 0 ELSE size END,
        {NOW}, {NOW}, CASE WHEN complete THEN {NOW} END, deadline, listed
    FROM numbered WHERE sha256 IS NOT NULL ORDER BY sha256, place
    ON CONFLICT DO NOTHING
    RETURNING upload
)
SELECT numbered.upload, added.upload IS NOT NULL
FROM numbered LEFT JOIN added USING (upload) ORDER BY place
"""
_COLUMNS: LiteralString = """
encode(i.sha256, 'hex'), i.upload, i.size, i.chunk_size, i.piece_size, i.missing,
i.created, i.active, i.completed, i.deadline, i.listed
"""
_HASHES: LiteralString = """
(SELECT decode(hex, 'hex') AS sha256 FROM unnest(%s::text[]) AS hex) AS h
"""
_LOCK: LiteralString = f"""
SELECT {_COLUMNS} FROM {_HASHES}
JOIN asciid.image i ON i.shard = get_byte(h.sha256, 0) AND i.sha256 = h.sha256
ORDER BY i.sha256 FOR UPDATE OF i
"""
_STAGED: LiteralString = """
SELECT s.upload, s.active FROM unnest(%s::smallint[], %s::bigint[]) AS u(shard, upload)
JOIN asciid.staged s USING (shard, upload) ORDER BY s.upload FOR UPDATE OF s
"""
_SKIPPING: LiteralString = "SKIP LOCKED"
"""What another node removes at the same time need not be removed here."""
_GONE: LiteralString = f"""
SELECT encode(g.sha256, 'hex'), g.at FROM {_HASHES}
JOIN asciid.gone g ON g.shard = get_byte(h.sha256, 0) AND g.sha256 = h.sha256
FOR UPDATE OF g
"""
_MARKS: LiteralString = f"""
WITH h AS (SELECT decode(hex, 'hex') AS sha256 FROM unnest(%s::text[]) AS hex)
SELECT encode(b.sha256, 'hex'), b.since, b.reason
FROM h JOIN asciid.blocked b ON b.shard = get_byte(h.sha256, 0) AND b.sha256 = h.sha256
UNION ALL
SELECT encode(g.sha256, 'hex'), g.at, NULL
FROM h JOIN asciid.gone g ON g.shard = get_byte(h.sha256, 0) AND g.sha256 = h.sha256
"""
_ABOUTS: LiteralString = f"""
SELECT a.upload, a.about, a.revision, a.key_hash, a.charset FROM {_HASHES}
JOIN asciid.image i ON i.shard = get_byte(h.sha256, 0) AND i.sha256 = h.sha256
JOIN asciid.about a ON a.shard = i.upload & {SHARD_OF_UPLOAD} AND a.upload = i.upload
"""

_decode_about = msgspec.json.Decoder(About).decode


@define(eq=False)
class _Additions:
    """What `_ADD` is given, a member for each upload number that may be needed."""

    places: list[int] = field(factory=list)
    """Of the operations in the transaction."""
    hashes: list[str | None] = field(factory=list)
    sizes: list[int] = field(factory=list)
    chunk_sizes: list[int] = field(factory=list)
    complete: list[bool] = field(factory=list)
    listed: list[bool] = field(factory=list)
    deadlines: list[int | None] = field(factory=list)

    def add(  # noqa: PLR0913 - the columns
        self,
        place: int,
        sha256: str | None,
        size: int = 0,
        chunk_size: int = 1,
        about: About | None = None,
        *,
        complete: bool = False,
        listed: bool = True,
    ) -> None:
        """Have an upload number drawn, and a row added if a hash is given."""
        self.places.append(place)
        self.hashes.append(sha256)
        self.sizes.append(size)
        self.chunk_sizes.append(chunk_size)
        self.complete.append(complete)
        self.listed.append(listed if about is None else about.listed)
        self.deadlines.append(None if about is None else deadline_of(about))


@define(eq=False)
class Loading:
    """The statements that load a `BatchState`, and what they are for."""

    connection: psycopg.Connection[Any]
    numbers: dict[int, int] = field(init=False, factory=dict)
    """Upload numbers for operations, by their place in the transaction."""
    _additions: _Additions = field(init=False, factory=_Additions)
    _hashes: set[str] = field(init=False, factory=set)
    _described: set[str] = field(init=False, factory=set)
    """Hashes of images of which it matters what is stored beside them."""
    _staged: set[int] = field(init=False, factory=set)
    _old_images: set[str] = field(init=False, factory=set)
    _old_staged: set[int] = field(init=False, factory=set)
    _old_gone: set[str] = field(init=False, factory=set)

    def load(
        self, operations: Sequence[AnyOperation], now: Callable[[], int]
    ) -> BatchState:
        """
        Lock and read what the operations need, in one round trip.

        Errors: `psycopg.Error`; `psycopg.errors.SerializationFailure` if another
        transaction removed a row between two of the statements.
        """
        for place, it in enumerate(operations):
            self._plan(place, it)
        execute = self.connection.execute
        additions = self._add() if self._additions.places else None
        hashes = array_of(sorted(self._hashes))
        locked = [execute(_LOCK, (hashes,), binary=True)] if self._hashes else []
        staged = [self._select_staged(_STAGED, self._staged)] if self._staged else []
        old = self._old_images - self._hashes
        if old:
            statement = _LOCK + _SKIPPING
            locked.append(execute(statement, (array_of(sorted(old)),), binary=True))
        if self._old_staged:
            statement = _STAGED + _SKIPPING
            staged.append(self._select_staged(statement, self._old_staged))
        marks = [execute(_MARKS, (hashes,), binary=True)] if self._hashes else []
        gone = []
        if self._old_gone:
            parameter = array_of(sorted(self._old_gone))
            gone.append(execute(_GONE + _SKIPPING, (parameter,), binary=True))
        abouts = []
        if self._described:
            parameter = array_of(sorted(self._described))
            abouts.append(execute(_ABOUTS, (parameter,), binary=True))

        state = BatchState(now())
        added = self._number(additions) if additions else set()
        for cursor in locked:
            _load_images(state, cursor, added)
        lost = {one for one in self._additions.hashes if one} - state.rows.keys()
        if lost - state.added.keys():
            message = "an image was removed while the transaction began"
            raise psycopg.errors.SerializationFailure(message)
        for cursor in staged:
            for number, active in cursor.fetchall():
                spec = ImageSpec("", 0, PIECE)
                state.staged[number] = Image(spec, number, PIECE, 0, active, active)
        for cursor in marks:
            _load_marks(state, cursor)
        for cursor in gone:
            state.gone.update(cursor.fetchall())
        for cursor in abouts:
            for number, about, revision, key_hash, charset in cursor.fetchall():
                state.abouts[number] = AboutRecord(
                    _decode_about(about), revision, key_hash, charset
                )
        return state

    def _plan(self, place: int, it: AnyOperation) -> None:
        match it:
            case AddChunk():
                self._hashes.add(it.sha256)
            case Register(spec, _, new):
                self._hashes.add(spec.sha256)
                self._additions.add(
                    place,
                    spec.sha256,
                    spec.size,
                    spec.chunk_size,
                    new.about if new else None,
                    complete=not spec.size,
                    listed=it.listed,
                )
            case Finish(verified):
                self._hashes.add(verified.spec.sha256)
            case Put(sha256, content, new):
                self._hashes.add(sha256)
                self._described.add(sha256)
                self._additions.add(
                    place,
                    sha256,
                    len(content),
                    PIECE,
                    new.about if new else None,
                    complete=True,
                    listed=it.listed,
                )
            case Remove(sha256, key_hash):
                self._hashes.add(sha256)
                if key_hash is not None:
                    self._described.add(sha256)
            case SetAbout(sha256):
                self._hashes.add(sha256)
                self._described.add(sha256)
                self._additions.add(place, None)
            case BlockHash(sha256) | UnblockHash(sha256):
                self._hashes.add(sha256)
                self._additions.add(place, sha256)
            case Adopt(number, sha256):
                self._hashes.add(sha256)
                self._described.add(sha256)
                self._staged.add(number)
                self._additions.add(place, sha256)
            case AddPieces(number) | Abandon(number):
                self._staged.add(number)
            case Begin():
                self._additions.add(place, None)
            case RemoveExpired("staged", _, found):
                self._old_staged.update([old.number for old in found])
            case RemoveExpired("gone", _, found):
                self._old_gone.update([old.sha256 for old in found])
            case RemoveExpired(_, _, found):
                self._old_images.update([old.sha256 for old in found])
            case _:
                pass

    def _add(self) -> psycopg.Cursor[Any]:
        it = self._additions
        columns = (
            it.hashes,
            it.sizes,
            it.chunk_sizes,
            it.complete,
            it.listed,
            it.deadlines,
        )
        return self.connection.execute(
            _ADD, [array_of(column) for column in columns], binary=True
        )

    def _select_staged(
        self, statement: LiteralString, numbers: Collection[int]
    ) -> psycopg.Cursor[Any]:
        ordered = sorted(numbers)
        shards = [number & SHARD_OF_UPLOAD for number in ordered]
        parameters = array_of(shards), array_of(ordered)
        return self.connection.execute(statement, parameters, binary=True)

    def _number(self, additions: psycopg.Cursor[Any]) -> set[int]:
        """Keep the numbers for operations; return those of rows that were added."""
        rows = additions.fetchall()
        for place, (number, _) in zip(self._additions.places, rows, strict=True):
            self.numbers[place] = number
        return {number for number, was_added in rows if was_added}


def _load_images(
    state: BatchState, cursor: psycopg.Cursor[Any], added: Collection[int]
) -> None:
    for sha256, *columns in cursor.fetchall():
        number, size, chunk_size, *others = columns
        if number in added:
            state.added[sha256] = tuple(columns)
        else:
            image = Image(ImageSpec(sha256, size, chunk_size), number, *others)
            state.images[sha256] = state.rows[sha256] = image


def _load_marks(state: BatchState, cursor: psycopg.Cursor[Any]) -> None:
    for sha256, time, reason in cursor.fetchall():
        if reason is None:
            state.gone[sha256] = time
        else:
            state.blocked[sha256] = BlockedHash(sha256, reason, time)
