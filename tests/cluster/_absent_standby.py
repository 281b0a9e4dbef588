"""Commits that wait for a synchronous standby which is not there."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import psycopg

from tests.cluster._programs import wait_until

if TYPE_CHECKING:
    from tests.cluster._server import Server

__all__ = ["WAITING", "forget_standby", "miss_standby"]

WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
"""The processes of the server whose commits wait."""


def miss_standby(server: Server) -> None:
    """Have commits wait for a standby that does not exist; return once they do."""
    _set(server, "absent")
    # The checkpointer has to read the setting first.
    wait_until(lambda: _commit_waits(server), "commits do not wait")


def forget_standby(server: Server) -> None:
    """Have commits wait for no standby."""
    _set(server, "")


def _set(server: Server, name: str) -> None:
    server.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
    server.execute("SELECT pg_reload_conf()")


def _commit_waits(server: Server) -> bool:
    connection = psycopg.connect(server.conninfo(), autocommit=True)
    with closing(connection):
        pid, pgconn = connection.info.backend_pid, connection.pgconn
        # A transaction that writes to the log waits.
        pgconn.send_query(b"SELECT pg_logical_emit_message(true, 'asciid', '')")
        while pgconn.is_busy():
            if (pid,) in server.execute(WAITING):
                server.execute("SELECT pg_terminate_backend(%s)", pid)
                wait_until(
                    lambda: (pid,) not in server.execute(WAITING), "it does not end"
                )
                return True
            pgconn.consume_input()
    return False
