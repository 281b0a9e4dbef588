"""Three PostgreSQL servers that Patroni and etcd keep available."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import psycopg
import yaml
from attrs import define, field

from tests.cluster._programs import (
    PATIENCE,
    Program,
    find,
    free_port,
    make_directory,
    need,
    wait_until,
)
from tests.cluster._server import DATABASE, OWNER, SUPERUSER
from tests.integration._daemon import ROOT

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LEASE", "Cluster", "Member", "new_cluster"]


def _settings() -> dict[str, Any]:
    """Return the settings of the cluster: those of contrib/, for a small machine."""
    text = (ROOT / "contrib" / "patroni.yml").read_text(encoding="utf-8")
    settings: dict[str, Any] = yaml.safe_load(text)["bootstrap"]["dcs"]
    settings["postgresql"]["parameters"].update(
        archive_mode="off",
        # Kills of processes lose nothing that is in the kernel's memory.
        fsync="off",
        max_connections=60,
        max_wal_size="2GB",
        shared_buffers="64MB",
        wal_keep_size="128MB",
    )
    return settings


_DCS = _settings()

LEASE: int = _DCS["ttl"]
"""Seconds that the lease of a primary lasts."""

_ACCESS = [
    "local all all trust",
    "local replication all trust",
    "host all all 127.0.0.1/32 trust",
    "host replication all 127.0.0.1/32 trust",
]

_TIMEOUT = 10


def _get(url: str) -> dict[str, Any]:
    with urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310 - the test's own server
        return dict(json.load(answer))


@define(eq=False)
class Member:
    """A PostgreSQL server on `port` of 127.0.0.1, and its Patroni."""

    name: str
    directory: Path
    port: int
    api_port: int
    """The port of Patroni's REST API."""
    program: Program = field(init=False)

    @program.default
    def _make_program(self) -> Program:
        command = [find("patroni"), str(self.directory / "patroni.yml")]
        return Program(self.directory, self.name, command)

    def configure(self, etcd: list[str]) -> None:
        """Write Patroni's configuration."""
        address = f"127.0.0.1:{self.port}"
        api = f"127.0.0.1:{self.api_port}"
        configuration = {
            "scope": "asciid",
            "name": self.name,
            "restapi": {"listen": api, "connect_address": api},
            "etcd": {"hosts": etcd},
            "bootstrap": {
                "dcs": _DCS,
                "initdb": [
                    {"encoding": "UTF8"},
                    {"locale": "C"},
                    "data-checksums",
                    "no-sync",
                ],
            },
            "postgresql": {
                "listen": address,
                "connect_address": address,
                "data_dir": str(self.directory / "data"),
                "bin_dir": find("postgres").rpartition("/")[0],
                "pgpass": str(self.directory / "pgpass"),
                "authentication": {
                    "superuser": {"username": SUPERUSER, "password": "unused"},
                    "replication": {"username": "replicator", "password": "unused"},
                    "rewind": {"username": "rewind", "password": "unused"},
                },
                "parameters": {"unix_socket_directories": str(self.directory)},
                "pg_hba": _ACCESS,
            },
        }
        # JSON is YAML.
        text = json.dumps(configuration, indent=2)
        (self.directory / "patroni.yml").write_text(text, encoding="utf-8")

    def start(self) -> None:
        """Start Patroni, and wait until its REST API responds."""
        self.program.start(lambda: self.members is not None)

    @property
    def members(self) -> list[dict[str, Any]] | None:
        """The members of the cluster as this one sees them; None: it is down."""
        try:
            return list(_get(f"http://127.0.0.1:{self.api_port}/cluster")["members"])
        except (URLError, OSError):
            return None

    @property
    def postmaster(self) -> int:
        """The process id of the server."""
        text = (self.directory / "data" / "postmaster.pid").read_text()
        return int(text.splitlines()[0])

    def kill(self) -> None:
        """Kill Patroni and the server, as the kernel would if the machine died."""
        self.program.signal(signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.kill(self.postmaster, signal.SIGKILL)
        self.program.wait()

    @property
    def is_primary(self) -> bool:
        """Whether its server accepts writes."""
        try:
            return self.execute("SELECT pg_is_in_recovery()") == [(False,)]
        except psycopg.OperationalError:
            return False

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Carry out a statement by itself, as the superuser; return its rows."""
        with psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=SUPERUSER,
            dbname="postgres",
            autocommit=True,
            connect_timeout=_TIMEOUT,
        ) as connection:
            # The statement is a test's own.
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@define(eq=False)
class Cluster:
    """Members of which one is the primary and another its synchronous standby."""

    etcd: list[Program]
    members: list[Member]

    @property
    def conninfo(self) -> str:
        """A URI of the database that names all members."""
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.members)
        mode = "target_session_attrs=read-write"
        return f"postgresql://{OWNER}@{hosts}/{DATABASE}?{mode}"

    def _roles(self) -> dict[str, str]:
        """Return the role of each member whose server runs, by its name."""
        for member in self.members:
            for found in [member.members] if member.program.is_running else []:
                if found is not None:
                    return {
                        one["name"]: one["role"]
                        for one in found
                        if one["state"] in {"running", "streaming"}
                    }
        return {}

    @property
    def primary(self) -> Member | None:
        """The primary, if Patroni knows one."""
        roles = self._roles()
        leaders = [one for one in self.members if roles.get(one.name) == "leader"]
        return leaders[0] if leaders else None

    def switch_over(self) -> None:
        """Make the synchronous standby the primary, as before maintenance."""
        names = {role: name for name, role in self._roles().items()}
        primary = self.primary
        assert primary is not None
        plan = {"leader": names["leader"], "candidate": names["sync_standby"]}
        request = Request(
            f"http://127.0.0.1:{primary.api_port}/switchover",
            json.dumps(plan).encode(),
            {"Content-Type": "application/json"},
        )
        with urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - likewise
            answer.read()

    def wait_until_complete(self) -> Member:
        """Wait until every member runs and a standby is synchronous; return primary."""
        roles = ["leader", "replica", "sync_standby"]

        def is_complete() -> bool:
            # What Patroni says may be older than the last failover.
            primary = self.primary
            return (
                sorted(self._roles().values()) == roles
                and primary is not None
                and primary.is_primary
            )

        wait_until(is_complete, "the cluster is not complete", seconds=180)
        primary = self.primary
        assert primary is not None
        return primary

    def end(self) -> None:
        """End all members, then etcd."""
        for program in [*(one.program for one in self.members), *self.etcd]:
            program.end()


def _etcd(count: int) -> tuple[list[Program], list[str]]:
    """Return etcd on so many started servers, and their addresses for clients."""
    peers = [f"http://127.0.0.1:{free_port()}" for _ in range(count)]
    clients = [f"127.0.0.1:{free_port()}" for _ in range(count)]
    everyone = ",".join(f"etcd{i}={peer}" for i, peer in enumerate(peers))
    programs = []
    for i, (peer, client) in enumerate(zip(peers, clients, strict=True)):
        # It syncs each renewal of a lease, which a busy disk delays.
        directory = make_directory(in_memory=True)
        command = [
            find("etcd"),
            f"--name=etcd{i}",
            f"--data-dir={directory / 'etcd'}",
            f"--listen-client-urls=http://{client}",
            f"--advertise-client-urls=http://{client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={everyone}",
            "--initial-cluster-state=new",
            "--enable-v2=true",
        ]
        programs.append(Program(directory, f"etcd{i}", command))
    # The first of several is ready only after another one has started.
    for program in programs:
        program.start(lambda: True)
    for client in clients:
        wait_until(lambda client=client: _is_healthy(client), "etcd is not ready")  # type: ignore[misc]
    return programs, clients


def _is_healthy(client: str) -> bool:
    try:
        return bool(_get(f"http://{client}/health")["health"] == "true")
    except (URLError, OSError):
        return False


def new_cluster(etcd: int = 1) -> Cluster:
    """
    Return three started members with an empty database, on so many etcd servers.

    End it with `Cluster.end`.  The test is skipped where a program is missing.
    """
    need("initdb", "postgres", "pg_basebackup", "patroni", "etcd")
    programs, clients = _etcd(etcd)
    names = ("one", "two", "three")
    members = [
        Member(name, make_directory(), free_port(), free_port()) for name in names
    ]
    cluster = Cluster(programs, members)
    try:
        for member in members:
            member.configure(clients)
            member.start()
        primary = cluster.wait_until_complete()
        primary.execute(f"CREATE ROLE {OWNER} LOGIN")
        primary.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
    except BaseException:
        cluster.end()
        raise
    return cluster
