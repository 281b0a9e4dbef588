"""Answers queries in the threads of a pool, each with a connection of its own."""

from __future__ import annotations

from contextlib import contextmanager
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from attrs import define, field
from psycopg.errors import DeadlockDetected, SerializationFailure
from twisted.internet.defer import Deferred, fail

from asciid.engines._fault_log import FaultLog
from asciid.engines.postgresql._connecting import Link, is_of_connection, one_line
from asciid.engines.postgresql._reconnecting import Reconnecting
from asciid.engines.postgresql._sql_answers import answer
from asciid.engines.postgresql._sql_schema import check_version
from asciid.errors import (
    AsciidError,
    DatabaseUnavailableError,
    StorageUnreadableError,
    StoreVersionError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asciid.engines._batching import IWriterReactor, ReadPool
    from asciid.store.queries import Query
    from asciid.store.stats import DatabaseStats

__all__ = ["READ_TIMEOUT", "UNAVAILABLE_TIMEOUT", "DatabaseReads"]

READ_TIMEOUT = 60.0
"""Seconds without an answer after which a connection is given up ..."""

UNAVAILABLE_TIMEOUT = 5.0
"""... and while no other connection can be made, or writes fail, too."""

ResultT = TypeVar("ResultT")


@define(eq=False)
class _Reader:
    """The connection of a thread."""

    link: Link
    asked: float | None = None
    """When the query under way was sent, or its last part."""


@define(eq=False)
class DatabaseReads:
    """
    Answers queries in the threads of `pool`.

    While no connection can be made, queries fail at once.  `connect` makes one;
    `clock` maps the database's time to the time that is used; `monotonic` is in
    seconds.
    """

    _connect: Callable[[], psycopg.Connection[Any]]
    _pool: ReadPool
    _reactor: IWriterReactor
    _stats: DatabaseStats
    _clock: Callable[[float], float]
    _monotonic: Callable[[], float]
    _answer: Callable[..., Any] = answer
    _readers: dict[int, _Reader] = field(init=False, factory=dict)
    _fault_log: FaultLog = field(init=False)
    _reconnecting: Reconnecting = field(init=False)

    @_fault_log.default
    def _(self) -> FaultLog:
        return FaultLog("reading from the database", self._monotonic)

    @_reconnecting.default
    def _(self) -> Reconnecting:
        return Reconnecting(self._reactor, self._try)

    @property
    def available(self) -> bool:
        """Whether a connection could be made the last time."""
        return not self._reconnecting.active

    def ask(self, query: Query[ResultT]) -> Deferred[ResultT]:
        """
        Answer a query.

        Errors: those of the query, `DatabaseUnavailableError`,
        `StorageUnreadableError`, `StoreBusyError`, `StoreClosedError`.
        """
        if self._reconnecting.active:
            return fail(DatabaseUnavailableError())
        return self._pool.run(lambda: self._run(query))

    def cut_if_hung(self, *, writes_fail: bool = False) -> None:
        """Give up connections that have not answered for long."""
        now = self._monotonic()
        works = self.available and not writes_fail
        patience = READ_TIMEOUT if works else UNAVAILABLE_TIMEOUT
        for reader in list(self._readers.values()):
            if reader.asked is not None and now - reader.asked >= patience:
                reader.link.cut()

    def stop(self) -> Deferred[None]:
        """Finish the queries under way, then disconnect."""
        self._reconnecting.stop()
        return self._pool.stop().addCallback(self._close)

    def _close(self, _: None) -> None:
        while self._readers:
            self._readers.popitem()[1].link.close()

    def _run(self, query: Query[ResultT]) -> ResultT:
        """Answer a query, in a thread; once more on a new connection if one is lost."""
        try:
            return self._ask(query)
        except psycopg.Error as error:
            if not _may_succeed(error):
                raise self._unreadable(error) from error
        try:
            return self._ask(query)
        except psycopg.Error as error:
            if not _may_succeed(error):
                raise self._unreadable(error) from error
            self._fault_log.failed(one_line(error))
            raise DatabaseUnavailableError from error

    def _ask(self, query: Query[ResultT]) -> ResultT:
        reader = self._reader()
        try:
            with self._asking(reader) as note:
                result: ResultT = self._answer(
                    reader.link.connection, query, self._clock, note
                )
        except AsciidError:
            raise
        except BaseException:
            self._discard()
            raise
        self._fault_log.succeeded()
        return result

    def _unreadable(self, error: psycopg.Error) -> StorageUnreadableError:
        self._fault_log.failed(one_line(error))
        return StorageUnreadableError()

    def _reader(self) -> _Reader:
        """Return the connection of this thread; make one if there is none."""
        reader = self._readers.get(get_ident())
        if reader is not None:
            return reader
        try:
            reader = self._readers[get_ident()] = _Reader(Link(self._connect()))
            with self._asking(reader):
                check_version(reader.link.connection)
        except (psycopg.Error, StoreVersionError) as error:
            self._close_own()
            self._fault_log.failed(one_line(error))
            self._reactor.callFromThread(self._reconnecting.begin)
            raise DatabaseUnavailableError from error
        return reader

    @contextmanager
    def _asking(self, reader: _Reader) -> Iterator[Callable[[], None]]:
        """Note that the server is to answer; yield what notes that it goes on."""

        def note() -> None:
            reader.asked = self._monotonic()

        note()
        try:
            yield note
        finally:
            reader.asked = None

    def _discard(self) -> None:
        self._stats.reconnects += 1
        self._close_own()

    def _close_own(self) -> None:
        """Close the connection of this thread, if there is one."""
        reader = self._readers.pop(get_ident(), None)
        if reader is not None:
            reader.link.close()

    def _try(self) -> Deferred[bool]:
        def check() -> bool:
            try:
                reader = self._reader()
                with self._asking(reader):
                    reader.link.connection.execute("SELECT 1")
            except psycopg.Error as error:
                self._fault_log.failed(one_line(error))
                self._discard()
                return False
            except DatabaseUnavailableError:
                return False
            return True

        return self._pool.call_in_thread(check)


def _may_succeed(error: psycopg.Error) -> bool:
    """Return whether the same query may succeed on another connection."""
    return is_of_connection(error) or isinstance(
        error, SerializationFailure | DeadlockDetected
    )
