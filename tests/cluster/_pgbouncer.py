"""pgbouncer between the nodes and a server, in transaction mode."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from attrs import define

from tests.cluster._programs import Program, find, free_port, make_directory, need
from tests.cluster._server import DATABASE, OWNER

if TYPE_CHECKING:
    from tests.cluster._server import Server

__all__ = ["Bouncer", "new_bouncer"]

_CONFIGURATION = """\
[databases]
{database} = host={host} port={port} dbname={database}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = {connections}
"""


@define(eq=False)
class Bouncer:
    """A pgbouncer on `port` of 127.0.0.1."""

    port: int
    database: str
    program: Program

    @property
    def conninfo(self) -> str:
        """A URI of the database, through the pool."""
        return f"postgresql://{OWNER}@127.0.0.1:{self.port}/{self.database}"

    def end(self) -> None:
        """End it at the end of a test."""
        self.program.end()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def start(self) -> Bouncer:
        """Start it and wait until it accepts connections."""
        self.program.start(self._listens)
        return self


def new_bouncer(
    server: Server, database: str = DATABASE, connections: int = 2
) -> Bouncer:
    """
    Return a started pgbouncer with so many connections to a database of `server`.

    Fewer than the clients have: the connections are really shared.
    """
    need("pgbouncer")
    directory = make_directory()
    file, users, port = directory / "pgbouncer.ini", directory / "users", free_port()
    users.write_text(f'"{OWNER}" ""\n')
    host, server_port = server.place
    file.write_text(
        _CONFIGURATION.format(
            database=database,
            host=host,
            port=server_port,
            listen=port,
            users=users,
            connections=connections,
        )
    )
    program = Program(directory, "pgbouncer", [find("pgbouncer"), str(file)])
    return Bouncer(port, database, program).start()
