"""
The tables of the database, version 1, and how they are created.

All are in the schema ``asciid``, which each statement names.  Times are milliseconds
since the epoch, of the database's clock, upload numbers those of the sequence
``asciid.upload``.  Each key begins with a shard, so that tables can be distributed: the
first byte of the SHA-256 where the key has one, else the last byte of the upload number
(`SHARD_OF_UPLOAD`), as a staged image has no hash yet.

``image``
    One row for each registered or complete image: its upload number, and how it is
    stored.  The row is the lock of everything about its hash: a transaction that
    changes any of it holds the row, or has inserted it.  ``missing`` are bytes,
    ``active`` is the last activity, which completion is, ``completed`` is NULL while it
    is pending.  ``listed`` and ``deadline``, NULL for none, follow from ``about``.
``chunk``
    The pieces of images and staged images: all have ``image.piece_size`` bytes but the
    last one.
``about``
    What is stored beside an image, unless it is the default: `About` as JSON, its
    revision, the hash of the edit key, the charset.
``staged``
    Images that are received in one request, and have no hash yet.
``discarded``
    Uploads whose chunks are still to be deleted.
``gone``
    Images that have expired, for a while.  A hash in ``image`` is not gone.
``quarantined``
    Complete images that were found to be damaged: their rows of ``image``.  What they
    have in ``chunk`` and ``about`` is kept.
``blocked``
    Hashes that are refused; none of them is in ``image``.
``node``
    One row for each process that writes: the number of its last batch, and its time.
``schema_version``
    One row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

import psycopg

from asciid.errors import StoreVersionError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NOW", "SHARD_OF_UPLOAD", "TABLES", "VERSION", "check_version", "migrate"]

NOW: LiteralString = "floor(extract(epoch from now()) * 1000)::bigint"
"""SQL for the time at which the transaction began, in milliseconds."""

SHARD_OF_UPLOAD = 0xFF
"""The bits of an upload number that are the shard of its rows."""

TABLES = (
    "about",
    "blocked",
    "chunk",
    "discarded",
    "gone",
    "image",
    "node",
    "quarantined",
    "staged",
)
"""All tables but ``schema_version``."""

MIGRATIONS: Sequence[Sequence[LiteralString]] = [
    [
        "CREATE SCHEMA IF NOT EXISTS asciid",
        "CREATE TABLE asciid.schema_version (version integer NOT NULL)",
        "INSERT INTO asciid.schema_version VALUES (0)",
        "CREATE SEQUENCE asciid.upload",
        """
        CREATE TABLE asciid.node (
            id uuid PRIMARY KEY,
            batch bigint NOT NULL,
            seen bigint NOT NULL
        ) WITH (fillfactor = 50)
        """,
        # Most updates change `missing` and `active` alone: they stay on the page, and
        # change no index.
        """
        CREATE TABLE asciid.image (
            upload bigint NOT NULL,
            size bigint NOT NULL,
            chunk_size bigint NOT NULL,
            piece_size bigint NOT NULL,
            missing bigint NOT NULL,
            created bigint NOT NULL,
            active bigint NOT NULL,
            completed bigint,
            deadline bigint,
            shard smallint NOT NULL,
            listed boolean NOT NULL,
            sha256 bytea NOT NULL,
            PRIMARY KEY (shard, sha256)
        ) WITH (fillfactor = 60)
        """,
        """
        CREATE INDEX image_pending ON asciid.image (created) WHERE completed IS NULL
        """,
        """
        CREATE INDEX image_listing ON asciid.image (completed, upload)
        WHERE listed AND completed IS NOT NULL
        """,
        # With the one above, all complete images by age.
        """
        CREATE INDEX image_unlisted ON asciid.image (completed, upload)
        WHERE NOT listed AND completed IS NOT NULL
        """,
        """
        CREATE INDEX image_dated ON asciid.image (deadline)
        WHERE deadline IS NOT NULL
        """,
        """
        CREATE TABLE asciid.chunk (
            upload bigint NOT NULL,
            id bigint NOT NULL,
            shard smallint NOT NULL,
            data bytea NOT NULL,
            PRIMARY KEY (shard, upload, id)
        )
        """,
        # Not compressed, so that a part of a large piece can be read alone.
        "ALTER TABLE asciid.chunk ALTER COLUMN data SET STORAGE EXTERNAL",
        """
        CREATE TABLE asciid.about (
            upload bigint NOT NULL,
            revision bigint NOT NULL,
            shard smallint NOT NULL,
            about bytea NOT NULL,
            key_hash bytea NOT NULL,
            charset text NOT NULL,
            PRIMARY KEY (shard, upload)
        )
        """,
        """
        CREATE TABLE asciid.staged (
            upload bigint NOT NULL,
            active bigint NOT NULL,
            shard smallint NOT NULL,
            PRIMARY KEY (shard, upload)
        )
        """,
        """
        CREATE TABLE asciid.discarded (
            upload bigint NOT NULL,
            shard smallint NOT NULL,
            PRIMARY KEY (shard, upload)
        )
        """,
        """
        CREATE TABLE asciid.gone (
            at bigint NOT NULL,
            shard smallint NOT NULL,
            sha256 bytea NOT NULL,
            PRIMARY KEY (shard, sha256)
        )
        """,
        """
        CREATE TABLE asciid.blocked (
            since bigint NOT NULL,
            shard smallint NOT NULL,
            sha256 bytea NOT NULL,
            reason text NOT NULL,
            PRIMARY KEY (shard, sha256)
        )
        """,
        """
        CREATE TABLE asciid.quarantined (
            LIKE asciid.image,
            PRIMARY KEY (shard, sha256, upload)
        )
        """,
    ],
]
"""For each version but 0, the statements that lead to it from the one before."""

VERSION = len(MIGRATIONS)
"""The version that this release reads and writes."""

_LOCK = 0x6173636969640001
"""The key of the advisory lock of migrations: one at a time."""


def check_version(connection: psycopg.Connection[Any]) -> None:
    """
    Check that the database has the tables of this release.

    Errors: `StoreVersionError`, `psycopg.Error`.
    """
    found = _version_of(connection)
    if found == VERSION:
        return
    if not found:
        message = "the database has no tables of asciid: run asciid migrate"
    elif found < VERSION:
        message = (
            f"the database has schema version {found}, and this release needs "
            f"{VERSION}: run asciid migrate"
        )
    else:
        message = (
            f"the database has schema version {found}, and this release knows only "
            f"up to {VERSION}: run a newer asciid"
        )
    raise StoreVersionError(message)


def migrate(connection: psycopg.Connection[Any]) -> tuple[int, int]:
    """
    Create or change the tables; return the versions before and after.

    All is done in one transaction.  Of several calls at once, the others wait for the
    first, and change nothing.

    Errors: `StoreVersionError` if the database is newer than this release,
    `psycopg.Error`, also if it is not encoded in UTF-8.
    """
    with connection.transaction():
        # Released with the transaction, so that it works through a pooler, too.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        before = _version_of(connection)
        if before > VERSION:
            check_version(connection)
        if not before:
            _check_encoding(connection)
        for statements in MIGRATIONS[before:]:
            for statement in statements:
                connection.execute(statement)
        if before < VERSION:
            connection.execute(
                "UPDATE asciid.schema_version SET version = %s", (VERSION,)
            )
    return before, VERSION


def _check_encoding(connection: psycopg.Connection[Any]) -> None:
    """
    Check that the database can store any text, as the reasons of blocked hashes are.

    Errors: `psycopg.NotSupportedError`.
    """
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        message = (
            f"the database has the encoding {encoding}, and UTF8 is needed: create it "
            "with ENCODING 'UTF8' TEMPLATE template0"
        )
        raise psycopg.NotSupportedError(message)


def _version_of(connection: psycopg.Connection[Any]) -> int:
    """Return the version of the tables, 0 if there are none."""
    there = connection.execute("SELECT to_regclass('asciid.schema_version')").fetchone()
    if there is None or there[0] is None:
        return 0
    row = connection.execute("SELECT version FROM asciid.schema_version").fetchone()
    return int(row[0]) if row else 0
