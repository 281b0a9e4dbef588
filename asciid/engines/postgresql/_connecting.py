"""Connections to the database, with timeouts that notice a peer which is gone."""

from __future__ import annotations

import logging
import os
import re
import socket
from contextlib import suppress
from threading import Lock
from typing import Any

import psycopg
from attrs import field, frozen
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import ReadOnlySqlTransaction

__all__ = ["Connector", "Database", "Link", "is_of_connection", "one_line"]

# Of errors that are handled; without a handler they are written to stderr.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

_DEFAULTS = {
    "application_name": "asciid",
    "client_encoding": "utf8",
    # Seconds, for each host.
    "connect_timeout": 3,
    # Seconds: an idle connection whose peer is gone is closed after 11.
    "keepalives": 1,
    "keepalives_count": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "target_session_attrs": "read-write",
    # Milliseconds until data that is not acknowledged closes a connection.
    "tcp_user_timeout": 10_000,
}
"""Parameters of libpq; those of the URI take precedence."""


@frozen
class Database:
    """Where the database is, as URIs of libpq, which `repr` and `str` hide."""

    conninfo: str = field(repr=False)
    listen_conninfo: str | None = field(default=None, repr=False)
    """A direct connection for LISTEN, where `conninfo` leads to a pooler."""


@frozen
class Connector:
    """
    Makes connections in autocommit mode, without server-side prepared statements.

    Each call blocks for up to 3 seconds for each host of the URI, unless that sets
    ``connect_timeout``.
    """

    database: Database

    def connect(self) -> psycopg.Connection[Any]:
        """
        Connect for reads or writes, to a primary unless the URI says otherwise.

        Errors: `psycopg.OperationalError`, if none accepts the connection.
        """
        return _connect(self.database.conninfo)

    def connect_to_listen(self) -> psycopg.Connection[Any]:
        """
        Connect directly, for LISTEN.

        Errors: those of `connect`.
        """
        return _connect(self.database.listen_conninfo or self.database.conninfo)


def _connect(conninfo: str) -> psycopg.Connection[Any]:
    parameters: dict[str, Any] = {**_DEFAULTS, **conninfo_to_dict(conninfo)}
    connection = psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)
    # Each statement is to see what was committed before it, whatever the default of
    # the database is.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    return connection


class Link:
    """A connection that another thread can cut, so that no thread waits for ever."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self._lock = Lock()
        # Of its own: libpq closes the connection's at any time, and another file may
        # get that number.
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))

    def fileno(self) -> int:
        """Return a descriptor of the socket, which stays open until `close`."""
        return self._socket.fileno()

    def cut(self) -> None:
        """Have what waits for the server fail; call this from any thread."""
        with self._lock, suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._socket.close()
        self.connection.close()


def is_of_connection(error: BaseException) -> bool:
    """Return whether another connection, perhaps to another server, may do better."""
    if isinstance(error, ReadOnlySqlTransaction):
        return True  # the server is a standby, or has become one
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    # pgbouncer has English only, and sends no other field for it.
    severity = error.diag.severity_nonlocalized or error.diag.severity
    return severity in ("FATAL", "PANIC")


def one_line(error: BaseException | None) -> str:
    """Return the text of an error, for a log or a command line, without advice."""
    # Of several hosts, the last one that failed is named twice.
    _, _, failures = str(error).partition("All failures were:\n")
    reasons = (
        _flattened(each) for each in (failures or str(error)).split("\n- host: ")
    )
    return "; ".join(reasons) or type(error).__name__


def _flattened(text: str) -> str:
    # Libpq's advice is in lines with a tab.
    lines = (line for line in text.splitlines() if not line.startswith("\t"))
    return re.sub(
        "^.*?hostaddr: .*?: (?=connection)", "", " ".join(" ".join(lines).split())
    )
