"""The engine that keeps images in a PostgreSQL database."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from asciid.engines._abandoned import Abandoned
from asciid.engines._batching import (
    READERS,
    BatchWriter,
    ReadPool,
    batching_stats,
    start_threads,
)
from asciid.engines._callbacks import do_nothing
from asciid.engines._engine_probe import EngineProbe
from asciid.engines._queue_size import QueueSize
from asciid.engines.postgresql._committer import Committer
from asciid.engines.postgresql._connecting import Connector, is_of_connection, one_line
from asciid.engines.postgresql._database_reads import DatabaseReads
from asciid.engines.postgresql._reconnecting import Reconnecting
from asciid.engines.postgresql._removal_listener import Listener
from asciid.errors import (
    AsciidError,
    DatabaseUnavailableError,
    StoreClosedError,
    StoreVersionError,
)
from asciid.runtime.threads import FixedThreadPool
from asciid.store.background import Background
from asciid.store.engine import IEngine
from asciid.store.operations import Abandon, Probe, all_outcomes
from asciid.store.pending import NO_LIMITS, PendingUploads
from asciid.store.stats import DatabaseStats, StoreHealth, StoreStats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.python.threadpool import ThreadPool

    from asciid.engines.postgresql._connecting import Database
    from asciid.engines.postgresql._removal_listener import IListener, OnRemoved
    from asciid.runtime.reactor import Reactor
    from asciid.store.operations import AnyOperation, Completed
    from asciid.store.pending import PendingLimits
    from asciid.store.queries import Query

__all__ = ["PostgreSQLEngine"]

HANGS_AFTER = 4.0
"""Seconds after which a batch is taken to hang, and further writes are refused."""

WATCH_EVERY = 1.0
"""Seconds between two checks for hanging batches and reads."""

ResultT = TypeVar("ResultT")


def _same(seconds: float) -> float:
    return seconds


@implementer(IEngine)
class PostgreSQLEngine:
    """
    Images in a PostgreSQL database, which any number of nodes share.

    Acknowledged operations are committed, and on the synchronous standby if one is
    configured.  `pending` bounds the uploads under way, `max_queue` the bytes that
    wait to be written.  `clock` maps the database's time, in seconds since the epoch,
    to the time that is used; `monotonic` is in seconds.  `listener` receives the
    removals of other nodes; by default it listens on the database.
    """

    def __init__(  # noqa: PLR0913 - each has a default, and tests vary each
        self,
        database: Database,
        *,
        reactor: Reactor,
        pending: PendingLimits = NO_LIMITS,
        max_queue: int = 64 * 1024 * 1024,
        clock: Callable[[float], float] = _same,
        monotonic: Callable[[], float] = time.monotonic,
        writer_pool: ThreadPool | None = None,
        read_pool: ThreadPool | None = None,
        listener: IListener | None = None,
    ) -> None:
        self._reactor = reactor
        self._monotonic = monotonic
        self._stopped = Event()
        self._stats = DatabaseStats()
        connector = Connector(database)
        self._to_evict: deque[Sequence[str]] = deque()
        self._committer = Committer(
            connector.connect,
            PendingUploads(pending),
            self._stats,
            clock,
            self._stopped.wait,
            monotonic,
            self._to_evict.append,
            lambda: reactor.callFromThread(self._refuse),
        )
        self._writer: BatchWriter[AnyOperation] = BatchWriter(
            self._committer.execute,
            self._recover,
            reactor=reactor,
            pool=writer_pool or FixedThreadPool(1, "asciid-writer"),
            queue=QueueSize(max_bytes=max_queue),
            monotonic=monotonic,
            delivered=self._evict_removed,
        )
        self._pool = ReadPool(
            reactor=reactor,
            pool=read_pool or FixedThreadPool(READERS, "asciid-reader"),
        )
        self._reads = DatabaseReads(
            connector.connect, self._pool, reactor, self._stats, clock, monotonic
        )
        self._listener = listener or Listener(
            connector.connect_to_listen,
            self._pool.call_in_thread,
            self._stats,
            reactor=reactor,
            monotonic=monotonic,
        )
        self._reconnecting = Reconnecting(reactor, self._commit_nothing)
        self._watching = LoopingCall(self._watch)
        self._watching.clock = reactor
        self._abandoned = Abandoned(self.apply)
        self._background = Background()
        self._probe = EngineProbe(self.apply, self.ask, self._background.run, monotonic)
        self._on_removed: OnRemoved = do_nothing
        self._started = False
        self._stopping = False

    @property
    def removals_known(self) -> bool:
        """See `IEngine.removals_known`."""
        return self._listener.is_current and not self._to_evict

    def start(
        self,
        on_removed: Callable[[Sequence[str] | None], object],
        on_completed: Callable[[Sequence[Completed]], object],
    ) -> Deferred[None]:
        """
        See `IEngine.start`; the tables must be there.

        Without a synchronous standby it starts all the same, with a warning: one
        database server is a supported configuration.

        While the database cannot be reached it starts, too, and goes on trying: a
        failover may be under way.

        Errors: `StoreVersionError`; `OSError` if the database cannot be used.
        """
        del on_completed  # other nodes do not send what they complete
        self._on_removed = on_removed
        try:
            start_threads(self._writer, self._pool)
        except OSError:
            return fail()
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        self._watching.start(WATCH_EVERY, now=False)
        try:
            await self._writer.call_in_thread(self._committer.open)
        except Exception as error:
            if not (
                is_of_connection(error) or isinstance(error, DatabaseUnavailableError)
            ):
                await self._stop()
                if isinstance(error, StoreVersionError):
                    raise
                raise OSError(one_line(error)) from error
            self._refuse()
        self._listener.start(self._on_removed)
        self._started = True

    def drain(self) -> Deferred[None]:
        """See `IEngine.drain`."""
        self._stopping = True
        return self._writer.submit(()).addBoth(do_nothing)

    def stop(self) -> Deferred[None]:
        """See `IEngine.stop`; `start` must have been called, and not have failed."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        # The outcome of a batch is not waited for longer than it takes.
        self._stopped.set()
        self._reconnecting.stop()
        await self._background.wait()
        await self._listener.stop()
        with suppress(AsciidError):
            # After all that was accepted.
            await self._writer.submit(())
            await self._writer.call_in_thread(self._committer.close)
        await self._writer.stop()
        await self._reads.stop()
        if self._watching.running:
            self._watching.stop()

    def apply(
        self,
        operations: Sequence[AnyOperation],
        then: Callable[[Sequence[Any]], Any] = all_outcomes,
    ) -> Deferred[Any]:
        """
        See `IEngine.apply`.

        Errors: `DatabaseUnavailableError`, too, at once while there is no primary, or
        it does not answer.
        """
        size = 0
        for operation in operations:
            size += operation.size
            if type(operation) is Abandon:
                self._abandoned.note(operation.number)
        if self._stopped.is_set():
            return fail(StoreClosedError())
        if self._reconnecting.active:
            return fail(DatabaseUnavailableError())
        return self._writer.submit(operations, size, then)

    def ask(self, query: Query[ResultT]) -> Deferred[ResultT]:
        """
        See `IEngine.ask`.

        Errors: `DatabaseUnavailableError`, too, at once while there is no primary.
        """
        return self._reads.ask(query)

    def tidy(self) -> Deferred[None]:
        """See `IEngine.tidy`."""
        return Deferred.fromCoroutine(self._tidy())

    async def _tidy(self) -> None:
        # Even a node without requests keeps its row.
        await self.apply((Probe(),))
        await self._writer.run_alone(self._forget_other_nodes)
        await self._abandoned.retry()

    async def _forget_other_nodes(self) -> None:
        await self._writer.call_in_thread(self._committer.forget_other_nodes)

    def health(self) -> StoreHealth:
        """See `IEngine.health`."""
        is_open = self._started and not self._stopping
        if is_open:
            self._probe.begin()
        probe = self._probe
        return StoreHealth(
            is_open,
            writes=probe.writes
            and not (self._reconnecting.active or probe.writes_hang),
            reads=probe.reads and self._reads.available,
            has_room=probe.has_room,
            is_replicated=self._stats.is_replicated,
        )

    def stats(self) -> StoreStats:
        """See `IEngine.stats`."""
        committer = self._committer
        stats = batching_stats(
            self._writer, self._pool, committer.events, committer.pending
        )
        return evolve(stats, database=self._stats)

    def _watch(self) -> None:
        """Refuse writes while a batch hangs, and give up connections that hang."""
        began = self._committer.began
        if began is not None and self._monotonic() - began >= HANGS_AFTER:
            self._refuse()
        self._committer.cut_if_hung()
        # All reads may wait for a server that hangs: then none finds out that there is
        # no other one.
        self._reads.cut_if_hung(writes_fail=self._reconnecting.active)

    def _refuse(self) -> None:
        """Refuse writes until a batch was committed."""
        self._reconnecting.begin()
        self._writer.refuse_waiting(DatabaseUnavailableError())

    def _commit_nothing(self) -> Deferred[bool]:
        # An empty batch is committed like any other.
        return self._writer.submit(
            (Probe(),), then=lambda outcomes: outcomes[0] is None
        )

    def _evict_removed(self) -> None:
        while self._to_evict:
            self._on_removed(self._to_evict.popleft())

    def _recover(self, error: Exception) -> Deferred[Exception | None]:
        # Everything was tried, in the writer's thread.
        return succeed(error)
