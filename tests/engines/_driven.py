"""Engines that tests turn by hand: one of each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from asciid.engines.memory import MemoryEngine
from asciid.testing import ManualReactor, ManualThreadPool, run
from tests.engines._postgresql import DrivenDatabase, clean_database
from tests.store._support import DrivenStore
from tests.workers._support import DrivenWorkers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred

    from asciid.store.engine import IEngine
    from asciid.store.operations import Completed
    from asciid.store.queries import Query

ResultT = TypeVar("ResultT")


class Driven:
    """An engine, its threads, and its clocks."""

    engine: IEngine
    reactor: ManualReactor
    pools: Sequence[ManualThreadPool]

    def __init__(self) -> None:
        self.removed: list[Sequence[str] | None] = []
        """What `on_removed` was called with."""
        self.completed: list[Completed] = []
        """What `on_completed` was called with."""

    def start(self) -> None:
        """Start the engine."""
        starting = self.engine.start(self.removed.append, self.completed.extend)
        self.run(starting)

    def stop(self) -> None:
        """Stop the engine."""
        self.run(self.engine.stop())

    def pass_time(self, seconds: float) -> None:
        """Let time go by, on every clock."""
        raise NotImplementedError

    def run(self, awaited: Deferred[ResultT]) -> ResultT:
        """Turn everything until `awaited` fires."""
        return run(awaited, self.reactor, *self.pools)

    def apply(self, *operations: Any) -> Sequence[Any]:  # noqa: ANN401 - any operation
        """Carry out operations; return their outcomes."""
        return self.run(self.engine.apply(operations))

    def ask(self, query: Query[ResultT]) -> ResultT:
        """Return the answer to a query."""
        return self.run(self.engine.ask(query))


class DrivenMemory(Driven):
    """A `MemoryEngine`."""

    def __init__(self, _: str, **options: Any) -> None:  # noqa: ANN401 - as MemoryEngine
        super().__init__()
        self.now, self.elapsed = 1_000_000.0, 0.0
        self.reactor = ManualReactor()
        self.pools = ManualThreadPool(), ManualThreadPool()
        pool, hash_pool = self.pools
        self.engine = MemoryEngine(
            reactor=self.reactor,
            pool=pool,
            hash_pool=hash_pool,
            clock=lambda: self.now,
            monotonic=lambda: self.elapsed,
            **options,
        )

    def pass_time(self, seconds: float) -> None:
        """Let time go by."""
        self.now += seconds
        self.elapsed += seconds


class DrivenLMDB(Driven):
    """An `LMDBEngine`."""

    def __init__(self, path: str, **options: Any) -> None:  # noqa: ANN401 - as LMDBEngine
        super().__init__()
        self._driven = DrivenStore(path, **options)
        self.reactor, self.engine = self._driven.reactor, self._driven.engine
        self.pools = self._driven.writer_pool, self._driven.read_pool

    def pass_time(self, seconds: float) -> None:
        """Let time go by."""
        self._driven.pass_time(seconds)


class DrivenRemote(Driven):
    """A `RemoteEngine`, and the process that writes for it."""

    def __init__(self, path: str, **options: Any) -> None:  # noqa: ANN401 - as LMDBEngine
        super().__init__()
        self._driven = DrivenWorkers(path, 1, **options)
        self._writer = self._driven.writer
        self.reactor, self.engine = self._driven.reactor, self._driven.engines[0]
        pools = self._writer.writer_pool, self._writer.read_pool, self._driven.read_pool
        self.pools = pools

    def start(self) -> None:
        """Start the process that writes, then the engine."""
        self.run(self._writer.store.start())
        self._driven.reactor.listening = self._driven.server
        super().start()

    def stop(self) -> None:
        """Stop the engine, then the process that writes."""
        super().stop()
        self.run(self._writer.store.stop())

    def pass_time(self, seconds: float) -> None:
        """Let time go by."""
        self._writer.pass_time(seconds)


class DrivenPostgreSQL(Driven):
    """A `PostgreSQLEngine` on the emptied database of the test process."""

    def __init__(self, _: str, **options: Any) -> None:  # noqa: ANN401 - as the engine
        super().__init__()
        self._driven = DrivenDatabase(clean_database(), **options)
        self.reactor, self.engine = self._driven.reactor, self._driven.engine
        self.pools = self._driven.writer_pool, self._driven.read_pool

    def pass_time(self, seconds: float) -> None:
        """Let time go by."""
        self._driven.pass_time(seconds)


ENGINES: Sequence[type[Any]] = (
    DrivenLMDB,
    DrivenMemory,
    DrivenPostgreSQL,
    DrivenRemote,
)
