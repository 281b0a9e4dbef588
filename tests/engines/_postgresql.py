"""A PostgreSQL server of the test process, and its database."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

import psycopg
from twisted.trial.unittest import SkipTest

from asciid.engines.postgresql._sql_schema import TABLES, migrate

__all__ = ["REQUIRED", "clean_database", "connect", "server"]

REQUIRED = "ASCIID_REQUIRE_CLUSTER"
"""The environment variable that turns a missing server program into an error."""

PROGRAMS = Path("/usr/lib/postgresql")
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "50",
    "shared_buffers": "32MB",
    "deadlock_timeout": "200ms",
}


@cache
def server() -> str:
    """
    Return the connection string of a server that runs until this process ends.

    The test is skipped where PostgreSQL is not installed.
    """
    programs = _programs()
    directory = Path(tempfile.mkdtemp(prefix="asciid-postgresql-"))
    owner = _unprivileged()
    if owner is not None:
        os.chown(directory, owner.pw_uid, owner.pw_gid)
    user = None if owner is None else owner.pw_name
    data = directory / "data"
    subprocess.run(
        [
            str(programs / "initdb"),
            *("--pgdata", str(data), "--username", "asciid"),
            *("--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        user=user,
        cwd=directory,
    )
    options = [f"--{name}={value}" for name, value in SETTINGS.items()]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(programs / "postgres"),
                *("-D", str(data), "-k", str(directory)),
                *options,
            ],
            stdout=log,
            stderr=log,
            user=user,
            cwd=directory,
        )
    atexit.register(_stop, process, directory)
    conninfo = f"postgresql://asciid@/postgres?host={directory}"
    _wait_for(process, conninfo, directory / "log")
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


def _programs() -> Path:
    """Return the directory of the newest server's programs."""
    found = sorted(
        PROGRAMS.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3])
    )
    if found:
        return found[-1].parent
    message = f"PostgreSQL's server is not installed below {PROGRAMS}"
    if os.environ.get(REQUIRED):
        raise RuntimeError(message)
    raise SkipTest(message)


def _unprivileged() -> pwd.struct_passwd | None:
    """Return the user to run the server as: it refuses to run as root."""
    if os.geteuid():
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _wait_for(process: subprocess.Popen[bytes], conninfo: str, log: Path) -> None:
    """Wait until the server accepts connections."""
    for _ in range(600):
        try:
            psycopg.connect(conninfo).close()
        except psycopg.OperationalError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(log.read_text(encoding="utf-8", errors="replace"))


def _stop(process: subprocess.Popen[bytes], directory: Path) -> None:
    # At once: what it stores is deleted.
    process.send_signal(signal.SIGQUIT)
    process.wait()
    shutil.rmtree(directory, ignore_errors=True)
