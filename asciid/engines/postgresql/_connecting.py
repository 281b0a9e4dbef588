"""Connections to the database, with timeouts that notice a peer which is gone."""

from __future__ import annotations

from typing import Any

import psycopg
from attrs import field, frozen
from psycopg.conninfo import conninfo_to_dict, make_conninfo

__all__ = ["Connector", "Database"]

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

_SECRETS = ("password", "sslpassword")


@frozen
class Database:
    """Where the database is, as URIs of libpq; `str` masks the passwords."""

    conninfo: str = field(repr=False)
    listen_conninfo: str | None = field(default=None, repr=False)
    """A direct connection for LISTEN, where `conninfo` leads to a pooler."""

    def __str__(self) -> str:
        parameters: dict[str, Any] = conninfo_to_dict(self.conninfo)
        masked = dict.fromkeys((key for key in _SECRETS if key in parameters), "***")
        return make_conninfo(**{**parameters, **masked})


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
    return psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)
