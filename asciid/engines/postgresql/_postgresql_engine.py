"""The engine that keeps images in a PostgreSQL database."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from zope.interface import implementer

from asciid.store.engine import IEngine
from asciid.store.pending import NO_LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred
    from twisted.python.threadpool import ThreadPool

    from asciid.engines._batching import IWriterReactor
    from asciid.engines.postgresql._connecting import Database
    from asciid.engines.postgresql._removal_listener import IListener
    from asciid.store.operations import AnyOperation, Completed
    from asciid.store.pending import PendingLimits
    from asciid.store.queries import Query
    from asciid.store.stats import StoreHealth, StoreStats

__all__ = ["PostgreSQLEngine"]

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
        reactor: IWriterReactor,
        pending: PendingLimits = NO_LIMITS,
        max_queue: int = 64 * 1024 * 1024,
        clock: Callable[[float], float] = _same,
        monotonic: Callable[[], float] = time.monotonic,
        writer_pool: ThreadPool | None = None,
        read_pool: ThreadPool | None = None,
        listener: IListener | None = None,
    ) -> None:
        raise NotImplementedError

    @property
    def removals_known(self) -> bool:
        """See `IEngine.removals_known`."""
        raise NotImplementedError

    def start(
        self,
        on_removed: Callable[[Sequence[str] | None], object],
        on_completed: Callable[[Sequence[Completed]], object],
    ) -> Deferred[None]:
        """
        See `IEngine.start`; `OSError` if the database cannot be reached.

        Errors: `StoreVersionError`, `OSError`.
        """
        raise NotImplementedError

    def drain(self) -> Deferred[None]:
        """See `IEngine.drain`."""
        raise NotImplementedError

    def stop(self) -> Deferred[None]:
        """See `IEngine.stop`; `start` must have been called, and not have failed."""
        raise NotImplementedError

    def apply(self, operations: Sequence[AnyOperation]) -> Deferred[Sequence[Any]]:
        """
        See `IEngine.apply`.

        Errors: `DatabaseUnavailableError`, too, at once while there is no primary.
        """
        raise NotImplementedError

    def ask(self, query: Query[ResultT]) -> Deferred[ResultT]:
        """
        See `IEngine.ask`.

        Errors: `DatabaseUnavailableError`, too, at once while there is no primary.
        """
        raise NotImplementedError

    def tidy(self) -> Deferred[None]:
        """See `IEngine.tidy`."""
        raise NotImplementedError

    def health(self) -> StoreHealth:
        """See `IEngine.health`."""
        raise NotImplementedError

    def stats(self) -> StoreStats:
        """See `IEngine.stats`."""
        raise NotImplementedError
