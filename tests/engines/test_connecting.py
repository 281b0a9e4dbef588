"""Connections to a database: their parameters, and how they are cut."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import psycopg
from psycopg import errors as sql
from psycopg.pq import DiagnosticField
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.postgresql import Connector, Database
from asciid.engines.postgresql._connecting import Link, is_of_connection
from tests.engines._fake_database import FakeConnection, FakeDatabase, from_server, lost

URI = "postgresql://asciid:s%40cret@db1.example:5433,db2.example/art?sslmode=require"


class ConnectorTests(SynchronousTestCase):
    """Parameters of connections."""

    def setUp(self) -> None:
        """Record the parameters."""
        self.used: list[dict[str, Any]] = []

        def connect(**parameters: Any) -> Any:  # noqa: ANN401 - those of libpq
            self.used.append(parameters)
            return SimpleNamespace()

        self.patch(psycopg, "connect", connect)

    def test_masked(self) -> None:
        """Passwords are not shown."""
        database = Database(f"{URI}&sslpassword=t0p", f"{URI}&application_name=x")
        for text in (str(database), repr(database), f"{database}"):
            self.assertEqual(text, "Database()")

    def test_defaults(self) -> None:
        """A peer that is gone is noticed; a server that only reads is not used."""
        Connector(Database(URI)).connect()
        (used,) = self.used
        self.assertEqual(used["target_session_attrs"], "read-write")
        self.assertEqual(used["connect_timeout"], 3)
        self.assertEqual(used["tcp_user_timeout"], 10_000)
        self.assertEqual(used["keepalives"], 1)
        self.assertEqual(used["application_name"], "asciid")
        self.assertEqual(used["host"], "db1.example,db2.example")
        self.assertEqual(used["password"], "s@cret")
        self.assertTrue(used["autocommit"])
        self.assertIsNone(used["prepare_threshold"])

    def test_own(self) -> None:
        """The parameters of the URI take precedence."""
        Connector(
            Database(f"{URI}&connect_timeout=9&target_session_attrs=any")
        ).connect()
        (used,) = self.used
        self.assertEqual(used["connect_timeout"], "9")
        self.assertEqual(used["target_session_attrs"], "any")

    def test_listening(self) -> None:
        """LISTEN has a connection of its own, if that is given."""
        for listen, host in (
            (None, "db1.example,db2.example"),
            ("postgresql://d", "d"),
        ):
            Connector(Database(URI, listen)).connect_to_listen()
            self.assertEqual(self.used[-1]["host"], host)


class LinkTests(SynchronousTestCase):
    """Connections that another thread can cut."""

    def test_cut(self) -> None:
        """A cut ends the connection at its socket, once; none after the end."""
        connection = FakeConnection(FakeDatabase())
        link = Link(connection)  # type: ignore[arg-type] # has what a link uses
        self.assertFalse(connection.is_cut())
        link.cut()
        self.assertTrue(connection.is_cut())
        link.cut()
        link.close()
        self.assertTrue(connection.closed)
        link.cut()
        link.close()

    def test_closed_by_the_library(self) -> None:
        """Its descriptor is its own: no other file gets the number meanwhile."""
        connection = FakeConnection(FakeDatabase())
        link = Link(connection)  # type: ignore[arg-type] # likewise
        self.assertNotEqual(link.fileno(), connection.fileno())
        connection.close()
        self.assertGreaterEqual(link.fileno(), 0)
        link.cut()
        link.close()


class ErrorsTests(SynchronousTestCase):
    """Errors of a connection, and others."""

    def test_kinds(self) -> None:
        """Another connection may help if this one, or its server, is of no use."""
        for error, expected in (
            (lost(), True),
            (from_server(sql.AdminShutdown, b"FATAL"), True),
            (from_server(sql.CrashShutdown, b"PANIC"), True),
            (from_server(sql.ReadOnlySqlTransaction), True),
            (from_server(sql.SerializationFailure), False),
            (from_server(sql.UndefinedTable), False),
            (psycopg.ProgrammingError("no result"), False),
            (KeyError(), False),
        ):
            self.assertIs(is_of_connection(error), expected, repr(error))

    def test_pgbouncer(self) -> None:
        """So is an error of pgbouncer, which gives its severity in one field only."""
        for severity, expected in ((b"FATAL", True), (b"ERROR", False)):
            info: Any = {DiagnosticField.SEVERITY: severity}
            error = sql.ProtocolViolation("query_wait_timeout", info=info)
            self.assertIs(is_of_connection(error), expected)
