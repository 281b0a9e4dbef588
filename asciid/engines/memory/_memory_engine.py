"""The engine that keeps images in memory, for ``--storage :memory:`` and for tests."""

from __future__ import annotations

import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from asciid.engines._batching import (
    BatchWriter,
    ReadPool,
    batching_stats,
    start_threads,
)
from asciid.engines._callbacks import do_nothing
from asciid.engines._queue_size import QueueSize
from asciid.engines._stamps import Stamps
from asciid.engines.memory._image_table import Images
from asciid.runtime.threads import FixedThreadPool
from asciid.store.engine import IEngine
from asciid.store.operations import all_outcomes, single_outcome
from asciid.store.pending import NO_LIMITS
from asciid.store.queries import HashWith
from asciid.store.stats import StoreHealth, StoreStats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.python.threadpool import ThreadPool

    from asciid.engines._batching import IWriterReactor
    from asciid.engines.memory._image_table import Task
    from asciid.store.operations import AnyOperation, Completed
    from asciid.store.pending import PendingLimits
    from asciid.store.queries import Query

__all__ = ["MemoryEngine"]

AnswerT = TypeVar("AnswerT")


@implementer(IEngine)
class MemoryEngine:
    """
    Images in memory; they are lost when the process ends.

    All work is done in one thread, in the order of the calls, as to copy an image takes
    too long for the reactor; images are hashed in another one.  `pending` bounds the
    uploads under way, `max_queue` the bytes that wait for the thread.  `clock` returns
    the time in seconds since the epoch, `monotonic` seconds since any moment.
    """

    def __init__(  # noqa: PLR0913 - each has a default, and tests vary each
        self,
        *,
        reactor: IWriterReactor,
        pending: PendingLimits = NO_LIMITS,
        max_queue: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        pool: ThreadPool | None = None,
        hash_pool: ThreadPool | None = None,
    ) -> None:
        self._images = Images(pending, clock, Stamps(clock, monotonic))
        self._writer: BatchWriter[Task] = BatchWriter(
            self._images.execute,
            succeed,  # nothing can be repaired
            reactor=reactor,
            pool=pool or FixedThreadPool(1, "asciid-memory"),
            queue=QueueSize(max_bytes=max_queue),
            monotonic=monotonic,
            delivered=self._evict_removed,
        )
        self._hashes = ReadPool(
            reactor=reactor, pool=hash_pool or FixedThreadPool(1, "asciid-hash")
        )
        self._on_removed: Callable[[Sequence[str]], object] = do_nothing
        self._stopped = False

    @property
    def removals_known(self) -> bool:
        """See `IEngine.removals_known`."""
        return not self._images.has_removed

    def start(
        self,
        on_removed: Callable[[Sequence[str] | None], object],
        on_completed: Callable[[Sequence[Completed]], object],
    ) -> Deferred[None]:
        """See `IEngine.start`."""
        del on_completed  # all images become complete through this process
        self._on_removed = on_removed
        try:
            start_threads(self._writer, self._hashes)
        except OSError:
            return fail()
        return succeed(None)

    def drain(self) -> Deferred[None]:
        """See `IEngine.drain`."""
        return self._writer.submit(()).addBoth(do_nothing)

    def stop(self) -> Deferred[None]:
        """See `IEngine.stop`."""
        self._stopped = True
        return self._hashes.stop().addCallback(lambda _: self._writer.stop())

    def apply(
        self,
        operations: Sequence[AnyOperation],
        then: Callable[[Sequence[Any]], Any] = all_outcomes,
    ) -> Deferred[Any]:
        """See `IEngine.apply`."""
        size = sum([operation.size for operation in operations])
        return self._writer.submit(operations, size, then)

    def ask(self, query: Query[AnswerT]) -> Deferred[AnswerT]:
        """See `IEngine.ask`."""
        answering = self._writer.submit((query,), then=single_outcome)
        if isinstance(query, HashWith):
            answering.addCallback(self._hash)
        return answering

    def tidy(self) -> Deferred[None]:
        """Do nothing: there is nothing else to clean up."""
        return succeed(None)

    def health(self) -> StoreHealth:
        """See `IEngine.health`; memory cannot fail."""
        return StoreHealth(not self._stopped, writes=True, reads=True, has_room=True)

    def stats(self) -> StoreStats:
        """See `IEngine.stats`."""
        images = self._images
        return batching_stats(self._writer, self._hashes, images.events, images.pending)

    def _hash(self, pieces: Sequence[bytes]) -> Deferred[str]:
        def hash_all() -> str:
            digest = sha256()
            for piece in pieces:
                digest.update(piece)
            return digest.hexdigest()

        return self._hashes.run(hash_all)

    def _evict_removed(self) -> None:
        removed = self._images.take_removed()
        if removed:
            self._on_removed(removed)
