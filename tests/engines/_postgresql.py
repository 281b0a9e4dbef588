"""The PostgreSQL database of the test process, with tables."""

from __future__ import annotations

from functools import cache

import psycopg

from asciid.engines.postgresql._sql_schema import TABLES, migrate
from tests.cluster._server import shared_server

__all__ = ["clean_database", "connect", "server"]


@cache
def server() -> str:
    """
    Return the connection string of a server that runs until this process ends.

    The test is skipped where PostgreSQL is not installed.
    """
    conninfo = shared_server().conninfo()
    with psycopg.connect(conninfo) as connection:
        migrate(connection)
    return conninfo


def connect() -> psycopg.Connection[tuple[object, ...]]:
    """Return a connection to the database, which commits each statement."""
    return psycopg.connect(server(), autocommit=True, prepare_threshold=None)


def clean_database() -> str:
    """Delete everything that is stored; return the connection string."""
    with connect() as connection:
        tables = ", ".join(f"asciid.{table}" for table in TABLES)
        connection.execute(f"TRUNCATE {tables}")
    return server()
