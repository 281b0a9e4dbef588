"""
The first statements of a transaction: they lock and read what its operations name.

Rows are inserted, and then locked, in the order of the hash, and nothing waits for a
lock after that: so transactions wait for each other in no circle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, LiteralString

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
    DeleteDiscarded,
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
    from collections.abc import Callable, Collection, Mapping, Sequence

    from asciid.store.operations import AnyOperation

    _Cursor = psycopg.Cursor[Any]

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
_MARKS: LiteralString = """
WITH h AS (SELECT decode(hex, 'hex') AS sha256 FROM unnest(%s::text[]) AS hex)
SELECT encode(b.sha256, 'hex'), b.since, b.reason
FROM h JOIN asciid.blocked b ON b.shard = get_byte(h.sha256, 0) AND b.sha256 = h.sha256
UNION ALL
SELECT encode(g.sha256, 'hex'), g.at, NULL
FROM h JOIN asciid.gone g ON g.shard = get_byte(h.sha256, 0) AND g.sha256 = h.sha256
"""
_DISCARDED: LiteralString = "SELECT EXISTS (SELECT FROM asciid.discarded)"
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
    _deletes: bool = field(init=False, default=False)
    """Whether chunks of discarded uploads are to be deleted."""

    def load(
        self, operations: Sequence[AnyOperation], now: Callable[[], int]
    ) -> BatchState:
        """
        Lock and read what the operations need, in one round trip.

        Errors: `psycopg.Error`; `psycopg.errors.SerializationFailure` if another
        transaction removed a row between two of the statements.
        """
        for place, it in enumerate(operations):
            plan = self._PLAN.get(type(it))
            if plan is not None:
                plan(self, place, it)
        additions = self._add() if self._additions.places else None
        locked, staged = self._lock()
        discarded = [self.connection.execute(_DISCARDED)] if self._deletes else []
        marks, abouts = self._read()
        state = BatchState(now())
        added = self._number(additions) if additions else set()
        for cursor in locked:
            _load_images(state, cursor, added)
        wanted = {one for one in self._additions.hashes if one is not None}
        if wanted - state.images.keys() - state.added.keys():
            message = "an image was removed while the transaction began"
            raise psycopg.errors.SerializationFailure(message)
        for cursor in staged:
            _load_staged(state, cursor)
        for cursor in discarded:
            ((state.has_discarded,),) = cursor.fetchall()
        for cursor in marks:
            _load_marks(state, cursor)
        for cursor in abouts:
            _load_abouts(state, cursor)
        return state

    def _lock(self) -> tuple[Sequence[_Cursor], Sequence[_Cursor]]:
        """Lock rows of images and staged ones: first those that must be waited for."""
        images, staged = [], []
        if self._hashes:
            images.append(self._select(_LOCK, self._hashes))
        if self._staged:
            staged.append(self._select_staged(_STAGED, self._staged))
        old = self._old_images - self._hashes
        if old:
            images.append(self._select(_LOCK + _SKIPPING, old))
        if self._old_staged:
            staged.append(self._select_staged(_STAGED + _SKIPPING, self._old_staged))
        return images, staged

    def _read(self) -> tuple[Sequence[_Cursor], Sequence[_Cursor]]:
        """Read what belongs to the rows that are locked."""
        marks, abouts = [], []
        if self._hashes:
            marks.append(self._select(_MARKS, self._hashes))
        if self._described:
            abouts.append(self._select(_ABOUTS, self._described))
        return marks, abouts

    def _plan_hash(self, _: int, it: AddChunk) -> None:
        self._hashes.add(it.sha256)

    def _plan_finish(self, _: int, it: Finish) -> None:
        self._hashes.add(it.verified.spec.sha256)

    def _plan_register(self, place: int, it: Register) -> None:
        spec = it.spec
        self._hashes.add(spec.sha256)
        self._additions.add(
            place,
            spec.sha256,
            spec.size,
            spec.chunk_size,
            it.new.about if it.new else None,
            complete=not spec.size,
            listed=it.listed,
        )

    def _plan_put(self, place: int, it: Put) -> None:
        self._hashes.add(it.sha256)
        self._described.add(it.sha256)
        self._additions.add(
            place,
            it.sha256,
            len(it.content),
            PIECE,
            it.new.about if it.new else None,
            complete=True,
            listed=it.listed,
        )

    def _plan_remove(self, _: int, it: Remove) -> None:
        self._hashes.add(it.sha256)
        if it.key_hash is not None:
            self._described.add(it.sha256)

    def _plan_set_about(self, place: int, it: SetAbout) -> None:
        self._hashes.add(it.sha256)
        self._described.add(it.sha256)
        self._additions.add(place, None)

    def _plan_block(self, place: int, it: BlockHash | UnblockHash) -> None:
        # Also where there is no image: the row that is added is the lock.
        self._hashes.add(it.sha256)
        self._additions.add(place, it.sha256)

    def _plan_adopt(self, place: int, it: Adopt) -> None:
        self._staged.add(it.number)
        self._hashes.add(it.sha256)
        self._described.add(it.sha256)
        self._additions.add(place, it.sha256)

    def _plan_staged(self, _: int, it: AddPieces | Abandon) -> None:
        self._staged.add(it.number)

    def _plan_begin(self, place: int, _: Begin) -> None:
        self._additions.add(place, None)

    def _plan_delete(self, _: int, __: DeleteDiscarded) -> None:
        self._deletes = True

    def _plan_expired(self, _: int, it: RemoveExpired) -> None:
        if it.kind == "staged":
            self._old_staged.update([old.number for old in it.found])
        elif it.kind != "gone":
            self._old_images.update([old.sha256 for old in it.found])

    def _select(self, statement: LiteralString, hashes: Collection[str]) -> _Cursor:
        parameters = (array_of(sorted(hashes)),)
        return self.connection.execute(statement, parameters, binary=True)

    def _add(self) -> _Cursor:
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
    ) -> _Cursor:
        ordered = sorted(numbers)
        shards = [number & SHARD_OF_UPLOAD for number in ordered]
        parameters = array_of(shards), array_of(ordered)
        return self.connection.execute(statement, parameters, binary=True)

    def _number(self, additions: _Cursor) -> set[int]:
        """Keep the numbers for operations; return those of rows that were added."""
        rows = additions.fetchall()
        for place, (number, _) in zip(self._additions.places, rows, strict=True):
            self.numbers[place] = number
        return {number for number, was_added in rows if was_added}

    _PLAN: ClassVar[Mapping[type[Any], Callable[[Loading, int, Any], None]]] = {
        Abandon: _plan_staged,
        AddChunk: _plan_hash,
        AddPieces: _plan_staged,
        Adopt: _plan_adopt,
        Begin: _plan_begin,
        BlockHash: _plan_block,
        DeleteDiscarded: _plan_delete,
        Finish: _plan_finish,
        Put: _plan_put,
        Register: _plan_register,
        Remove: _plan_remove,
        RemoveExpired: _plan_expired,
        SetAbout: _plan_set_about,
        UnblockHash: _plan_block,
    }


def _load_images(state: BatchState, cursor: _Cursor, added: Collection[int]) -> None:
    for sha256, *columns in cursor.fetchall():
        number, size, chunk_size, *others = columns
        if number in added:
            state.added[sha256] = tuple(columns)
        else:
            image = Image(ImageSpec(sha256, size, chunk_size), number, *others)
            state.images[sha256] = state.rows[sha256] = image


def _load_staged(state: BatchState, cursor: _Cursor) -> None:
    for number, active in cursor.fetchall():
        image = Image(ImageSpec("", 0, PIECE), number, PIECE, 0, active, active)
        image.overwrites = True
        state.staged[number] = image


def _load_abouts(state: BatchState, cursor: _Cursor) -> None:
    for number, about, revision, key_hash, charset in cursor.fetchall():
        try:
            decoded = _decode_about(about)
        except (msgspec.DecodeError, UnicodeDecodeError):
            state.unreadable.add(number)
        else:
            state.abouts[number] = AboutRecord(decoded, revision, key_hash, charset)


def _load_marks(state: BatchState, cursor: _Cursor) -> None:
    for sha256, time, reason in cursor.fetchall():
        if reason is None:
            state.gone[sha256] = time
        else:
            state.blocked[sha256] = BlockedHash(sha256, reason, time)
