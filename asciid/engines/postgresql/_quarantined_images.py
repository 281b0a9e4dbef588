"""
Images that were found to be damaged: putting them aside, and deleting them.

Each transaction is of its own, and nodes may be at work: an image leaves or enters the
images by its row, which is the lock.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, LiteralString

from asciid.engines.postgresql._discarded_chunks import delete_discarded
from asciid.engines.postgresql._removal_listener import notify

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

__all__ = ["committing", "purge_quarantine", "put_aside", "restore_quarantine"]

STEP = 300
"""How many images leave quarantine in one transaction."""

_COLUMNS: LiteralString = (
    "upload, size, chunk_size, piece_size, missing, created, active, completed,"
    " deadline, shard, listed, sha256"
)

_PUT_ASIDE: LiteralString = f"""
WITH taken AS (
  DELETE FROM asciid.image WHERE shard = %s AND sha256 = %s AND upload = %s
  RETURNING {_COLUMNS}
)
INSERT INTO asciid.quarantined ({_COLUMNS}) SELECT {_COLUMNS} FROM taken
"""

_NEXT: LiteralString = """
SELECT shard, sha256, upload FROM asciid.quarantined
WHERE (shard, sha256, upload) > (%s, %s, %s)
ORDER BY shard, sha256, upload LIMIT %s
"""

_RESTORE: LiteralString = f"""
INSERT INTO asciid.image ({_COLUMNS})
SELECT {_COLUMNS} FROM asciid.quarantined q
WHERE {{range}} AND NOT EXISTS (
  SELECT FROM asciid.blocked b WHERE b.shard = q.shard AND b.sha256 = q.sha256)
ORDER BY shard, sha256, upload
ON CONFLICT DO NOTHING
"""

# A statement of its own: the one above may have waited for a node that blocked a hash.
_REFUSE: LiteralString = """
DELETE FROM asciid.image i USING asciid.quarantined q, asciid.blocked b
WHERE {range} AND b.shard = q.shard AND b.sha256 = q.sha256
  AND i.shard = q.shard AND i.sha256 = q.sha256 AND i.upload = q.upload
"""

_FORGET: LiteralString = """
DELETE FROM asciid.quarantined q USING asciid.image i
WHERE {range} AND i.shard = q.shard AND i.sha256 = q.sha256 AND i.upload = q.upload
"""

_RANGE: LiteralString = """
(q.shard, q.sha256, q.upload) > (%s, %s, %s)
AND (q.shard, q.sha256, q.upload) <= (%s, %s, %s)
"""

_PURGE: LiteralString = """
WITH purged AS (
  DELETE FROM asciid.quarantined WHERE (shard, sha256, upload) IN (
    SELECT shard, sha256, upload FROM asciid.quarantined
    ORDER BY shard, sha256, upload LIMIT %s FOR UPDATE SKIP LOCKED
  ) RETURNING upload
), unused AS (
  SELECT DISTINCT (upload & 255)::smallint AS shard, upload FROM purged p
  WHERE NOT EXISTS (SELECT FROM asciid.image i WHERE i.upload = p.upload)
), described AS (
  DELETE FROM asciid.about a USING unused u
  WHERE a.shard = u.shard AND a.upload = u.upload
), discarded AS (
  INSERT INTO asciid.discarded (shard, upload) SELECT shard, upload FROM unused
  ON CONFLICT DO NOTHING
)
SELECT FROM purged
"""
"""A damaged row may name the upload of another image, which stays."""

_START = -1, b"", 0
"""Before every key."""


def put_aside(connection: psycopg.Connection[Any], digest: bytes, number: int) -> bool:
    """
    Take an image out of the ones that are registered; its chunks are kept.

    What is stored beside it is kept with it.  Nodes drop it from their caches.

    Return False, having done nothing, if it is no longer that upload.
    """
    with committing(connection):
        key = digest[0], digest, number
        if not connection.execute(_PUT_ASIDE, key).rowcount:
            return False
        notify(connection, [digest.hex()])
        return True


def restore_quarantine(connection: psycopg.Connection[Any]) -> int:
    """
    Take all images out of quarantine, as they were; return how many.

    One whose hash was registered again meanwhile, or blocked, stays there.
    """
    restored, start = 0, _START
    while keys := connection.execute(_NEXT, (*start, STEP)).fetchall():
        with committing(connection):
            parameters = (*start, *keys[-1])
            for statement in (_RESTORE, _REFUSE):
                connection.execute(statement.format(range=_RANGE), parameters)
            forget = connection.execute(_FORGET.format(range=_RANGE), parameters)
            restored += forget.rowcount
        start = keys[-1]
    return restored


def purge_quarantine(connection: psycopg.Connection[Any]) -> int:
    """Delete all images in quarantine, their chunks included; return how many."""
    purged = 0
    while True:
        with committing(connection):
            some = connection.execute(_PURGE, (STEP,)).rowcount
        if not some:
            break
        purged += some
    is_left = True
    while is_left:
        with committing(connection):
            is_left = delete_discarded(connection)
    return purged


@contextmanager
def committing(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Have statements commit together, and wait for a synchronous standby."""
    with connection.transaction():
        connection.execute("SET LOCAL synchronous_commit = on")
        yield
