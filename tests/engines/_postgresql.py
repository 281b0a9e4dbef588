"""The PostgreSQL database of the test process, and engines on it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import psycopg

from asciid.engines.postgresql import PostgreSQLEngine
from asciid.engines.postgresql._connecting import Database
from asciid.engines.postgresql._removal_listener import SOLE_NODE
from asciid.engines.postgresql._sql_schema import TABLES, migrate
from asciid.store import FOR_EVER, ImageStore, Lifetimes
from tests.cluster._server import shared_server
from tests.store._support import Turned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asciid.store import IImageObserver

__all__ = ["DrivenDatabase", "clean_database", "connect", "server"]


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


class DrivenDatabase(Turned):
    """A store over a `PostgreSQLEngine`, the only node of the database."""

    def __init__(
        self,
        conninfo: str,
        *,
        lifetimes: Lifetimes = FOR_EVER,
        observers: Sequence[IImageObserver] = (),
        **options: Any,  # noqa: ANN401 - as the engine
    ) -> None:
        super().__init__()
        self.engine = PostgreSQLEngine(
            Database(conninfo),
            reactor=self.reactor,
            writer_pool=self.writer_pool,
            read_pool=self.read_pool,
            listener=SOLE_NODE,
            **{
                "clock": lambda _: self.now,
                "monotonic": lambda: self.elapsed,
                **options,
            },
        )
        self.store = ImageStore(
            self.engine,
            reactor=self.reactor,
            lifetimes=lifetimes,
            observers=observers,
        )
