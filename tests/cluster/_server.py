"""PostgreSQL servers of the tests, and their synchronous standbys."""

from __future__ import annotations

import atexit
import signal
from functools import cache
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode

import psycopg
from attrs import define, field

from tests.cluster._programs import (
    Program,
    find,
    free_port,
    make_directory,
    need,
    run,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["DATABASE", "OWNER", "SUPERUSER", "Server", "new_server", "shared_server"]

DATABASE = "asciid"
OWNER = "asciid"
"""The role of the daemons: it owns the database and may do no more."""

SUPERUSER = "postgres"

_SOCKET_PORT = 5432

_SETTINGS = {
    "shared_buffers": "32MB",
    "max_connections": "60",
    "wal_keep_size": "64MB",
    "max_wal_size": "2GB",
    # Kills of processes lose nothing that is in the kernel's memory.
    "fsync": "off",
    "full_page_writes": "off",
    "deadlock_timeout": "200ms",
}

_ACCESS = """\
local all         all               trust
local replication all               trust
host  all         all  127.0.0.1/32 trust
"""


@define(eq=False)
class Server:
    """A PostgreSQL server on a Unix socket in `directory`, and on `port` if not 0."""

    directory: Path
    port: int = 0
    """A port of 127.0.0.1; 0: no TCP."""
    settings: Mapping[str, str] = field(factory=dict)
    """Settings of the server, beside or in place of those that all have."""
    access: str = _ACCESS
    """The text of ``pg_hba.conf``."""
    _program: Program = field(init=False)

    @_program.default
    def _make_program(self) -> Program:
        command = [find("postgres"), "-D", str(self.data)]
        return Program(self.directory, "postgres", command)

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    @property
    def program(self) -> Program:
        """The process of the server."""
        return self._program

    @property
    def place(self) -> tuple[str, int]:
        """The directory of the Unix socket, and its port."""
        return str(self.directory), self.port or _SOCKET_PORT

    def conninfo(
        self, user: str = OWNER, database: str = DATABASE, **parameters: str
    ) -> str:
        """Return a URI, on TCP if the server has a port, with libpq's parameters."""
        if self.port:
            place, where = f"127.0.0.1:{self.port}", {}
        else:
            place = ""
            where = {"host": str(self.directory), "port": str(_SOCKET_PORT)}
        query = urlencode({**where, **parameters}, quote_via=quote)
        return f"postgresql://{user}@{place}/{database}{'?' if query else ''}{query}"

    def initialize(self) -> Self:
        """Make the data directory."""
        superuser = f"--username={SUPERUSER}"
        layout = ("--encoding=UTF8", "--locale=C", "--no-sync", "--auth=trust")
        data = f"--pgdata={self.data}"
        run(self.directory, find("initdb"), superuser, *layout, data)
        return self._configure()

    def _configure(self) -> Self:
        settings = {
            **_SETTINGS,
            "listen_addresses": "127.0.0.1" if self.port else "",
            "port": str(self.port or _SOCKET_PORT),
            "unix_socket_directories": str(self.directory),
            **self.settings,
        }
        text = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        # The last value of a setting applies: a standby has those of its primary, too.
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(text)
        (self.data / "pg_hba.conf").write_text(self.access, encoding="utf-8")
        return self

    def make_database(self, name: str = DATABASE) -> Self:
        """Make the daemons' role and an empty database; the server must run."""
        if not self.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", OWNER):
            self.execute(f"CREATE ROLE {OWNER} LOGIN")
        self.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
        return self

    def start(self) -> Self:
        """Start it and wait until it accepts connections."""
        self._program.start(self._accepts)
        return self

    def _accepts(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def execute(
        self, statement: str, *values: object, database: str = "postgres"
    ) -> list[tuple[Any, ...]]:
        """
        Carry out a statement by itself, as the superuser; return its rows.

        `values` are those of ``%s`` in it.
        """
        host, port = self.place
        with psycopg.connect(
            host=host,
            port=port,
            user=SUPERUSER,
            dbname=database,
            autocommit=True,
            connect_timeout=10,
        ) as connection:
            # The statement is a test's own.
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def stop(self) -> None:
        """Stop it as an operator would: connections end, nothing is lost."""
        self._program.signal(signal.SIGINT)
        self._program.wait()

    def kill(self) -> None:
        """Kill it as the kernel would, and wait until all of its processes are gone."""
        self._program.signal(signal.SIGKILL)
        self._program.wait()

    def end(self) -> None:
        """End it at the end of a test; nothing if it does not run."""
        self._program.end()

    def standby(self, name: str = "standby") -> Server:
        """
        Return a streaming standby, started; this server must run.

        `synchronize` has commits wait for it.
        """
        directory = make_directory()
        other = Server(directory, free_port() if self.port else 0, self.settings)
        host, port = self.place
        source = f"host={host} port={port} user={SUPERUSER} application_name={name}"
        place = ("-D", str(other.data), "-X", "stream", "-c", "fast", "--no-sync")
        run(directory, find("pg_basebackup"), "-R", "-d", source, *place)
        return other._configure().start()

    def promote(self) -> None:
        """Make a standby a primary."""
        self.execute("SELECT pg_promote()")

    def synchronize(self, names: str = "*") -> None:
        """
        Have commits wait for a standby of these names; "" for none.

        Returns once a standby is synchronous, or the setting has taken effect.
        """
        self.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.execute("SELECT pg_reload_conf()")
        expected = [("sync",)] if names else []
        state = "SELECT sync_state FROM pg_stat_replication WHERE sync_state = 'sync'"
        wait_until(lambda: self.execute(state) == expected, "no synchronous standby")


def new_server(*, tcp: bool = False, **settings: str) -> Server:
    """
    Return a started server with an empty database; end it with `Server.end`.

    The test is skipped where PostgreSQL is missing, see
    `~tests.cluster._programs.need`.  `settings` are those of ``postgresql.conf``.
    """
    need("initdb", "postgres", "pg_basebackup")
    server = Server(make_directory(), free_port() if tcp else 0, settings)
    try:
        return server.initialize().start().make_database()
    except BaseException:
        server.end()
        raise


@cache
def shared_server(*, tcp: bool = False) -> Server:
    """Return a server that all tests of this process share; see `new_server`."""
    server = new_server(tcp=tcp)
    atexit.register(server.end)
    return server
