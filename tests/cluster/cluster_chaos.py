"""Batches whose outcome is unknown: none is lost, none is answered twice."""

from __future__ import annotations

import atexit
import os
import random
from functools import cache, partial
from hashlib import sha256
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import psycopg
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.postgresql import Connector, Database
from asciid.engines.postgresql._committer import Committer
from asciid.engines.postgresql._sql_schema import migrate
from asciid.errors import (
    CommitFailedError,
    DatabaseUnavailableError,
    ImageExistsError,
)
from asciid.model import ImageSpec
from asciid.store.operations import AddChunk, Completed, Register
from asciid.store.pending import NO_LIMITS, PendingUploads
from asciid.store.stats import DatabaseStats
from tests.cluster._absent_standby import WAITING, forget_standby, miss_standby
from tests.cluster._commit_proxy import CommitProxy, Fault
from tests.cluster._programs import wait_until
from tests.cluster._server import new_server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asciid.engines.postgresql._sql_batch import BatchResult
    from asciid.store.operations import AnyOperation
    from tests.cluster._server import Server

OUTCOMES = int(os.environ.get("ASCIID_CHAOS_OUTCOMES", "60"))
"""Unknown outcomes that a run has at the least."""

IMAGES = 6
"""Images of a batch."""

NODES = 2


class Rerunning(Committer):
    """A mutant that runs a batch again whose outcome is unknown."""

    def _settle(self, began: float) -> bool:
        del began
        self.stats.settled_rerun += 1
        return False


class Claiming(Rerunning):
    """A mutant that takes for its own what is there when it runs again."""

    claimed = 0
    """The reruns until the last claim."""

    def _attempt(self, operations: Sequence[AnyOperation]) -> BatchResult:
        reruns = self.stats.settled_rerun
        result = super()._attempt(operations)
        if reruns > self.claimed:
            self.claimed = reruns
            result.outcomes = [
                None if isinstance(each, ImageExistsError) else each
                for each in result.outcomes
            ]
        return result


class Deaf(Committer):
    """A mutant that ignores the server's warnings."""

    def _noticed(self, notice: psycopg.errors.Diagnostic) -> None:
        del notice


class Race:
    """Nodes that store the same images at the same time, through a proxy each."""

    def __init__(self, server: Server, kind: type[Committer], seed: int) -> None:
        self._server = server
        self._random = random.Random(seed)
        self.proxies = [
            CommitProxy(server.port, self._choose, self._delay).start()
            for _ in range(NODES)
        ]
        self.nodes = [self._make(kind, proxy.port) for proxy in self.proxies]
        self.contents: dict[str, bytes] = {}
        self.outcomes: dict[tuple[str, type], list[Any]] = {}

    def _choose(self) -> Fault | None:
        chosen = self._random.random()
        return self._random.choice(list(Fault)) if chosen < 0.4 else None

    def _delay(self) -> float:
        return self._random.uniform(0.01, 0.15)

    def _make(self, kind: type[Committer], port: int) -> Committer:
        uri = self._server.conninfo().replace(f":{self._server.port}/", f":{port}/")
        database = Database(f"{uri}?sslmode=disable&gssencmode=disable")
        return kind(
            Connector(database).connect,
            PendingUploads(NO_LIMITS),
            DatabaseStats(),
            lambda now: now,
            Event().wait,
        )

    def end(self) -> None:
        """Disconnect."""
        for node in self.nodes:
            node.close()
        for proxy in self.proxies:
            proxy.end()

    @property
    def unknown(self) -> int:
        """How many outcomes were unknown."""
        return self.committed + sum(
            node.stats.settled_rerun + node.stats.unresolved for node in self.nodes
        )

    @property
    def committed(self) -> int:
        """How many of them turned out to be committed."""
        return sum(node.stats.settled_committed for node in self.nodes)

    def run(self, outcomes: int) -> None:
        """Store images until so many outcomes were unknown."""
        while self.unknown < outcomes:
            self._store_some()

    def _store_some(self) -> None:
        operations: list[AnyOperation] = []
        for _ in range(IMAGES):
            content = self._random.randbytes(48)
            digest = sha256(content).hexdigest()
            self.contents[digest] = content
            operations.append(Register(ImageSpec(digest, len(content), len(content))))
            operations.append(AddChunk(digest, 0, content))
        threads = [
            Thread(target=self._store, args=(node, operations)) for node in self.nodes
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _store(self, node: Committer, operations: Sequence[AnyOperation]) -> None:
        while True:
            try:
                outcomes = node.execute(operations)
            except DatabaseUnavailableError:
                continue  # nothing was stored
            except CommitFailedError as error:
                outcomes = [error] * len(operations)
            break
        for operation, outcome in zip(operations, outcomes, strict=True):
            assert isinstance(operation, Register | AddChunk)
            digest = (
                operation.spec.sha256
                if isinstance(operation, Register)
                else operation.sha256
            )
            self.outcomes.setdefault((digest, type(operation)), []).append(outcome)

    def faults(self) -> dict[str, int]:
        """Return how many answers were wrong, by kind."""
        won = (type(None), Completed)
        twice = nobody = 0
        for outcomes in self.outcomes.values():
            wins = sum(isinstance(outcome, won) for outcome in outcomes)
            unclear = any(isinstance(each, CommitFailedError) for each in outcomes)
            twice += wins > 1
            nobody += not wins and not unclear
        with psycopg.connect(self._server.conninfo()) as connection:
            rows = connection.execute(
                "SELECT encode(sha256, 'hex'), data FROM asciid.image JOIN asciid.chunk"
                " USING (upload) WHERE completed IS NOT NULL"
            ).fetchall()
        stored = {name: bytes(data) for name, data in rows}
        lost = sum(
            stored.get(name) != self.contents[name]
            for (name, kind), outcomes in self.outcomes.items()
            if kind is AddChunk and any(isinstance(each, won) for each in outcomes)
        )
        return {"lost": lost, "won twice": twice, "won by nobody": nobody}


@cache
def database_server() -> Server:
    """Return a server with the tables, on TCP, that all tests here share."""
    server = new_server(tcp=True)
    atexit.register(server.end)
    with psycopg.connect(server.conninfo()) as connection:
        migrate(connection)
    return server


class ChaosTests(SynchronousTestCase):
    """Connections that are lost around COMMIT."""

    def race(self, kind: type[Committer], outcomes: int) -> Race:
        """Have nodes race, until so many outcomes were unknown."""
        race = Race(database_server(), kind, seed=outcomes)
        self.addCleanup(race.end)
        race.run(outcomes)
        return race

    def test_unknown_outcomes(self) -> None:
        """Nothing is lost, and what two nodes store was stored by exactly one."""
        race = self.race(Committer, OUTCOMES)
        self.assertEqual(race.faults(), {"lost": 0, "won twice": 0, "won by nobody": 0})
        self.assertGreaterEqual(race.unknown, 50)
        self.assertGreaterEqual(race.committed, 10)

    def test_rerun(self) -> None:
        """The same check finds that a batch that simply runs again loses its answer."""
        faults = self.race(Rerunning, 15).faults()
        self.assertGreater(faults["won by nobody"], 0)

    def test_claim(self) -> None:
        """It finds as well that one which claims what is there is answered twice."""
        faults = self.race(Claiming, 25).faults()
        self.assertGreater(faults["won twice"], 0)


class CancelledCommitTests(SynchronousTestCase):
    """Commits whose wait for the synchronous standby is ended by the operator."""

    def begin(self, kind: type[Committer]) -> Committer:
        """Have a node store an image while the standby is missing."""
        self.server = database_server()
        connector = Connector(Database(self.server.conninfo()))
        node = kind(
            connector.connect,
            PendingUploads(NO_LIMITS),
            DatabaseStats(),
            lambda now: now,
            Event().wait,
        )
        node.open()
        self.addCleanup(node.close)
        self.addCleanup(forget_standby, self.server)
        miss_standby(self.server)
        self.outcomes: list[Any] = []
        name = sha256(self.id().encode()).hexdigest()
        register = Register(ImageSpec(name, 4, 4))
        self.thread = Thread(
            target=lambda: self.outcomes.extend(node.execute([register])), daemon=True
        )
        self.thread.start()
        return node

    def end_wait(self, function: str) -> None:
        """End the wait of a commit as soon as there is one."""
        wait_until(lambda: self.server.execute(WAITING), "no commit waits")
        for (pid,) in self.server.execute(WAITING):
            self.server.execute(f"SELECT {function}({pid})")

    def is_noticed(self, node: Committer, before: int) -> bool:
        """Return whether a node has noticed more cancelled commits than before."""
        return node.stats.unreplicated > before

    def test_cancelled(self) -> None:
        """The write is not acknowledged before a commit has waited for the standby."""
        node = self.begin(Committer)
        for ended in range(3):
            self.end_wait("pg_cancel_backend")
            wait_until(partial(self.is_noticed, node, ended), "it went unnoticed")
        wait_until(lambda: self.server.execute(WAITING), "no commit waits")
        self.assertEqual(self.outcomes, [])
        forget_standby(self.server)
        self.thread.join(60)
        self.assertEqual(self.outcomes, [None])
        self.assertEqual(node.stats.settled_committed, 1)

    def test_terminated(self) -> None:
        """Nor if the connection is terminated while it waits."""
        node = self.begin(Committer)
        for _ in range(3):
            self.end_wait("pg_terminate_backend")
        wait_until(lambda: self.server.execute(WAITING), "no commit waits")
        self.assertEqual(self.outcomes, [])
        forget_standby(self.server)
        self.thread.join(60)
        self.assertEqual(self.outcomes, [None])
        self.assertEqual(node.stats.settled_committed, 1)

    def test_deaf(self) -> None:
        """A node that ignores the warning acknowledges it: the tests would notice."""
        self.begin(Deaf)
        self.end_wait("pg_cancel_backend")
        self.thread.join(60)
        self.assertEqual(self.outcomes, [None])
