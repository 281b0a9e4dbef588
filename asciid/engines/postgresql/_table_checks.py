"""Checks that the tables of a database agree with one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString, NamedTuple

import msgspec
from attrs import frozen

from asciid.engines._findings import Inconsistent
from asciid.engines.postgresql._image_state import deadline_of
from asciid.engines.postgresql._quarantined_images import committing
from asciid.engines.postgresql._removal_listener import notify
from asciid.model import About

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

__all__ = ["TableChecks"]

PAGE = 1_000
"""How many rows one statement reads."""

_UNLISTED = msgspec.json.encode(About(listed=False))
"""In the place of an about record that cannot be read."""

_ROWS: LiteralString = """
SELECT i.shard, i.sha256, i.upload, i.missing, i.completed, i.listed, i.deadline,
  a.about,
  EXISTS (SELECT FROM asciid.blocked b
          WHERE b.shard = i.shard AND b.sha256 = i.sha256),
  EXISTS (SELECT FROM asciid.discarded d
          WHERE d.shard = (i.upload & 255)::smallint AND d.upload = i.upload),
  CASE WHEN i.completed IS NULL THEN i.size - coalesce((
    SELECT sum(octet_length(c.data)) FROM asciid.chunk c
    WHERE c.shard = (i.upload & 255)::smallint AND c.upload = i.upload), 0)::bigint
  ELSE 0 END
FROM asciid.image i
LEFT JOIN asciid.about a
  ON a.shard = (i.upload & 255)::smallint AND a.upload = i.upload
"""

_PAGE: LiteralString = f"""
{_ROWS} WHERE (i.shard, i.sha256) > (%s, %s) ORDER BY i.shard, i.sha256 LIMIT %s
"""

_ONE: LiteralString = f"{_ROWS} WHERE i.shard = %s AND i.sha256 = %s"

# The row is the lock of everything about its hash.
_LOCK: LiteralString = """
SELECT FROM asciid.image WHERE shard = %s AND sha256 = %s FOR UPDATE
"""

_UPDATE: LiteralString = """
UPDATE asciid.image SET missing = %s, listed = %s, deadline = %s
WHERE shard = %s AND sha256 = %s
"""

_MOVE: LiteralString = """
UPDATE asciid.image i SET shard = get_byte(sha256, 0)
WHERE shard = %s AND sha256 = %s AND octet_length(sha256) = 32 AND NOT EXISTS (
  SELECT FROM asciid.image o
  WHERE o.shard = get_byte(i.sha256, 0)::smallint AND o.sha256 = i.sha256)
"""

_RESTATE_ABOUT: LiteralString = """
UPDATE asciid.about SET about = %s, key_hash = '', revision = nextval('asciid.upload')
WHERE shard = %s AND upload = %s
"""

_DISCARD: LiteralString = """
WITH taken AS (
  DELETE FROM asciid.image WHERE shard = %s AND sha256 = %s
  RETURNING (upload & 255)::smallint AS shard, upload
), described AS (
  DELETE FROM asciid.about a USING taken t
  WHERE a.shard = t.shard AND a.upload = t.upload
)
INSERT INTO asciid.discarded (shard, upload) SELECT shard, upload FROM taken
ON CONFLICT DO NOTHING
"""

_KEEP: LiteralString = "DELETE FROM asciid.discarded WHERE shard = %s AND upload = %s"

_NO_IMAGE: LiteralString = """
NOT EXISTS (SELECT FROM asciid.image i WHERE i.upload = o.upload)
AND NOT EXISTS (SELECT FROM asciid.quarantined q WHERE q.upload = o.upload)
"""

_IN_NO_USE: LiteralString = f"""
{_NO_IMAGE}
AND NOT EXISTS (SELECT FROM asciid.staged s WHERE s.upload = o.upload)
AND NOT EXISTS (SELECT FROM asciid.discarded d WHERE d.upload = o.upload)
"""


@frozen
class _Orphans:
    """Rows of uploads that are no image."""

    what: str
    find: LiteralString
    mend: LiteralString


# One statement each sees one state: an image and what is beside it are committed
# together.
_ORPHANS = (
    _Orphans(
        "has an about record",
        f"""
        SELECT o.shard, o.upload FROM asciid.about o
        WHERE (o.shard, o.upload) > (%s, %s) AND {_NO_IMAGE}
        ORDER BY o.shard, o.upload LIMIT %s
        """,
        f"""
        DELETE FROM asciid.about o WHERE o.shard = %s AND o.upload = %s AND {_NO_IMAGE}
        """,
    ),
    _Orphans(
        "has chunks",
        f"""
        SELECT o.shard, o.upload
        FROM (SELECT DISTINCT shard, upload FROM asciid.chunk
              WHERE (shard, upload) > (%s, %s)) o
        WHERE {_IN_NO_USE} ORDER BY o.shard, o.upload LIMIT %s
        """,
        f"""
        INSERT INTO asciid.discarded (shard, upload)
        SELECT o.shard, o.upload FROM (
          SELECT shard, upload FROM asciid.chunk
          WHERE shard = %s AND upload = %s LIMIT 1) o
        WHERE {_IN_NO_USE}
        """,
    ),
)


class _Row(NamedTuple):
    """A row of `_ROWS`."""

    shard: int
    digest: bytes
    number: int
    missing: int
    completed: int | None
    listed: bool
    deadline: int | None
    about: bytes | None
    is_blocked: bool
    is_discarded: bool
    lacking: int
    """The bytes that are missing, of a pending upload."""

    @property
    def key(self) -> tuple[int, bytes]:
        """The key of the image."""
        return self.shard, self.digest

    @property
    def chunks_key(self) -> tuple[int, int]:
        """The key of what is stored by the upload number."""
        return self.number & 255, self.number


class _Fault(NamedTuple):
    reason: str
    mend: LiteralString
    parameters: tuple[object, ...]


@frozen
class TableChecks:
    """
    One walk over the rows beside images, which nodes may change during it.

    With `mends` each fault is mended, and yielded only if it was still there.
    """

    connection: psycopg.Connection[Any]
    mends: bool

    def run(self) -> Iterator[Inconsistent]:
        """
        Yield images whose rows do not agree; without a hash, uploads that are no image.

        Errors: `psycopg.Error`.
        """
        start: tuple[int, bytes] = (-1, b"")
        while True:
            rows = self.connection.execute(_PAGE, (*start, PAGE)).fetchall()
            for row in map(_Row._make, rows):
                fault = _fault_of(row)
                if fault is not None and (not self.mends or self._mend(row)):
                    yield Inconsistent(row.digest.hex(), fault.reason)
            if len(rows) < PAGE:
                break
            start = _Row._make(rows[-1]).key
        for orphans in _ORPHANS:
            yield from self._orphans(orphans)

    def _mend(self, found: _Row) -> bool:
        """Mend all faults of an image; return whether it still had one."""
        mended = False
        with committing(self.connection):
            self.connection.execute(_LOCK, found.key)
            for row in self._read_again(found):
                fault = _fault_of(row)
                if fault is None:
                    break
                cursor = self.connection.execute(fault.mend, fault.parameters)
                if not cursor.rowcount:
                    break
                mended = True
                if fault.mend is _DISCARD and row.completed is not None:
                    notify(self.connection, [row.digest.hex()])
        return mended

    def _read_again(self, found: _Row) -> Iterator[_Row]:
        """Yield the row of an image for as long as there is one, as it is then."""
        while rows := self.connection.execute(_ONE, found.key).fetchall():
            yield _Row._make(rows[0])

    def _orphans(self, orphans: _Orphans) -> Iterator[Inconsistent]:
        start: tuple[int, int] = (-1, 0)
        while True:
            rows = self.connection.execute(orphans.find, (*start, PAGE)).fetchall()
            for shard, number in rows:
                if not self.mends or self._mend_orphan(orphans, shard, number):
                    reason = f"upload {number} {orphans.what}, but is no image"
                    yield Inconsistent("", reason)
            if len(rows) < PAGE:
                return
            start = rows[-1]

    def _mend_orphan(self, orphans: _Orphans, shard: int, number: int) -> bool:
        with committing(self.connection):
            cursor = self.connection.execute(orphans.mend, (shard, number))
            return cursor.rowcount > 0


def _fault_of(row: _Row) -> _Fault | None:
    """Return the first fault of an image."""
    return _misplaced(row) or _misdescribed(row)


def _misplaced(row: _Row) -> _Fault | None:
    """Return what is wrong with an image being where it is."""
    if [*row.digest[:1]] != [row.shard]:
        return _Fault("its row has a wrong shard", _MOVE, row.key)
    if row.is_blocked:
        return _Fault("it is blocked, but stored", _DISCARD, row.key)
    if row.is_discarded:
        reason = "it is stored, but its chunks are to be deleted"
        return _Fault(reason, _KEEP, row.chunks_key)
    if row.completed is None and row.lacking <= 0:
        return _Fault("it is pending, but nothing is missing", _DISCARD, row.key)
    return None


def _misdescribed(row: _Row) -> _Fault | None:
    """Return how an image and what is beside it do not agree."""
    try:
        about = About() if row.about is None else _decode(row.about)
    except (msgspec.DecodeError, UnicodeDecodeError):
        parameters = (_UNLISTED, *row.chunks_key)
        return _Fault("its about record cannot be read", _RESTATE_ABOUT, parameters)
    reason = _disagreement(row, about)
    if not reason:
        return None
    right = row.lacking, about.listed, deadline_of(about)
    return _Fault(reason, _UPDATE, (*right, *row.key))


def _disagreement(row: _Row, about: About) -> str:
    """Return how the row of an image does not agree with what is beside it."""
    if row.missing != row.lacking:
        return f"{row.missing} bytes count as missing, but {row.lacking} are"
    if row.listed and not about.listed:
        return "it is listed against its about record"
    if not row.listed and about.listed:
        return "it is not listed"
    if row.deadline == deadline_of(about):
        return ""
    wrong = "its time of expiry is not recorded"
    return wrong if row.deadline is None else "a wrong time of expiry is recorded"


def _decode(about: bytes) -> About:
    return msgspec.json.decode(about, type=About)
