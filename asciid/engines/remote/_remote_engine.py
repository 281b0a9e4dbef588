"""An engine that reads the storage file and sends operations to the writer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from asciid.engines._callbacks import do_nothing
from asciid.engines._engine_probe import EngineProbe
from asciid.runtime.histogram import Histogram
from asciid.store.background import Background
from asciid.store.engine import IEngine
from asciid.store.operations import all_outcomes
from asciid.store.stats import (
    BATCH_SIZES,
    COMMIT_TIMES,
    StoreEvents,
    StoreHealth,
    StoreStats,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asciid.engines.generations import Generations
    from asciid.engines.remote._writer_client import WriterClient
    from asciid.store.operations import AnyOperation, Completed
    from asciid.store.queries import Query

__all__ = ["ILocalReader", "RemoteEngine"]

AnswerT = TypeVar("AnswerT")


class ILocalReader(Protocol):
    """Answers queries from the storage that the other process writes."""

    @property
    def waiting(self) -> int:
        """How many reads are under way or wait."""

    @property
    def max_waiting(self) -> int:
        """How many may be."""

    def start(self) -> None:
        """
        Start the threads, unless they run.

        Errors: `OSError`.
        """

    async def stop(self) -> None:
        """Finish accepted queries, and close the storage."""

    def ask(self, query: Query[AnswerT]) -> Deferred[AnswerT]:
        """See `IEngine.ask`."""

    def open_file(self) -> Deferred[None]:
        """
        Open the storage, in a thread; queries wait until it is open.

        Errors: `OSError`, and others of its own; it is closed then.
        """

    def close_file(self) -> Deferred[None]:
        """
        Close the storage; queries wait until it is open again.

        Errors: some of its own.
        """


@implementer(IEngine)
class RemoteEngine:
    """
    Has operations carried out by the writer; queries `reader`.

    Nothing is served from memory until this process has caught up with `generations`,
    which it shares with that process.  `monotonic` is in seconds.
    """

    def __init__(
        self,
        client: WriterClient,
        reader: ILocalReader,
        generations: Generations,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._reader = reader
        self._generations = generations
        # The count of removals that this process has caught up with; None while it
        # receives none.
        self._caught_up: int | None = None
        self._on_removed: Callable[[Sequence[str] | None], object] = do_nothing
        self._on_completed: Callable[[Sequence[Completed]], object] = do_nothing
        self._stopping = False
        self._stopped = False
        self._background = Background()
        self._probe = EngineProbe(self.apply, self.ask, self._background.run, monotonic)

    @property
    def removals_known(self) -> bool:
        """See `IEngine.removals_known`."""
        return self._caught_up == self._generations.removals

    def start(
        self,
        on_removed: Callable[[Sequence[str] | None], object],
        on_completed: Callable[[Sequence[Completed]], object],
    ) -> Deferred[None]:
        """See `IEngine.start`; fires once the other process accepts operations."""
        self._on_removed = on_removed
        self._on_completed = on_completed
        return self.connect()

    def connect(self) -> Deferred[None]:
        """
        Do the part of `start` that waits for the other process, ahead of it.

        Errors: `OSError` without threads; `stop` is to be called all the same.
        """
        try:
            # One of these threads opens the file.
            self._reader.start()
        except OSError:
            return fail()
        return self._client.start(self)

    def drain(self) -> Deferred[None]:
        """See `IEngine.drain`."""
        self._stopping = True
        return self._client.drain()

    def stop(self) -> Deferred[None]:
        """See `IEngine.stop`; a second call does nothing."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        if self._stopped:
            return
        self._stopped = True
        await self._background.wait()
        await self._client.stop()
        await self._reader.stop()

    def apply(
        self,
        operations: Sequence[AnyOperation],
        then: Callable[[Sequence[Any]], Any] = all_outcomes,
    ) -> Deferred[Any]:
        """See `IEngine.apply` and `WriterClient.submit`."""
        return self._client.submit(operations, then)

    def ask(self, query: Query[AnswerT]) -> Deferred[AnswerT]:
        """See `IEngine.ask`."""
        return self._reader.ask(query)

    def tidy(self) -> Deferred[None]:
        """Do nothing: the writer does it."""
        return succeed(None)

    def stats(self) -> StoreStats:
        """See `IEngine.stats`; commits are counted by the writer."""
        queue = self._client.queue
        return StoreStats(
            events=StoreEvents(),
            batch_sizes=Histogram(BATCH_SIZES),
            commit_times=Histogram(COMMIT_TIMES),
            queue_operations=queue.operations,
            max_queue_operations=queue.max_operations,
            queue_bytes=queue.bytes,
            max_queue_bytes=queue.max_bytes,
            reads=self._reader.waiting,
            max_reads=self._reader.max_waiting,
        )

    def health(self) -> StoreHealth:
        """See `IEngine.health`; for the disk it is the outcome of the last probe."""
        probe = self._probe
        if not self._stopping:
            probe.begin()
        return StoreHealth(
            not self._stopping,
            writes=probe.writes and not probe.writes_hang,
            reads=probe.reads,
            has_room=probe.has_room,
        )

    def completed(self, images: Sequence[Completed]) -> None:
        """See `IFollower.completed`."""
        self._on_completed(images)

    def removed(self, removals: int, hashes: Sequence[str] | None) -> None:
        """See `IFollower.removed`."""
        self._on_removed(hashes)
        self._caught_up = removals

    def disconnected(self) -> None:
        """See `IFollower.disconnected`."""
        self._caught_up = None

    def open_file(self) -> Deferred[None]:
        """See `IFollower.open_file`."""
        return self._reader.open_file().addCallback(self._file_opened)

    def close_file(self) -> Deferred[None]:
        """See `IFollower.close_file`."""
        return self._reader.close_file()

    def _file_opened(self, _: None) -> None:
        # So that the first reading of health has the writer's state.
        self._probe.begin_writing()
