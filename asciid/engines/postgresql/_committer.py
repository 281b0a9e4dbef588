"""
Carries out batches of operations in fenced transactions.

A batch is answered only if it is known to be committed, and on the synchronous standby
if there is one.  If that is unknown, as the connection was lost during the commit, it
is found out before anything else is done; see `NodeRow`.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import psycopg
from attrs import define, field
from psycopg import errors as sql
from twisted.logger import Logger

from asciid.engines._callbacks import do_nothing
from asciid.engines._fault_log import FaultLog
from asciid.engines.postgresql._connecting import Link, is_of_connection, one_line
from asciid.engines.postgresql._node_row import NodeRow, RowMissingError
from asciid.engines.postgresql._reconnecting import delays
from asciid.engines.postgresql._removal_listener import notify
from asciid.engines.postgresql._sql_batch import carry_out
from asciid.engines.postgresql._sql_schema import check_version
from asciid.errors import (
    AsciidError,
    CommitFailedError,
    DatabaseUnavailableError,
    StorageFailedError,
    StorageFullError,
    StoreVersionError,
)
from asciid.store.stats import StoreEvents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from asciid.engines.postgresql._sql_batch import BatchResult
    from asciid.store.operations import AnyOperation
    from asciid.store.pending import PendingUploads
    from asciid.store.stats import DatabaseStats

__all__ = [
    "CUT_AFTER",
    "MAX_BYTES",
    "MAX_OPERATIONS",
    "RERUN_FOR",
    "SETTLE_FOR",
    "Committer",
]

MAX_OPERATIONS = 500
MAX_BYTES = 4 * 1024 * 1024
"""Bounds of a transaction, so that it holds its row locks for a short time."""

RERUN_FOR = 5.0
"""Seconds for which a batch of which nothing was committed is run again."""

SETTLE_FOR = 60.0
"""Seconds for which the outcome of a batch is asked for, from the batch's beginning."""

CUT_AFTER = 15.0
"""Seconds without an answer after which a connection is given up."""

INVALIDATE_EVERY = 1.0
"""Seconds for which the counts of pending uploads are kept: others change them, too."""

Pending: TypeAlias = "PendingUploads[tuple[str, int]]"

_log = Logger()

_RERUN = (
    sql.SerializationFailure,
    sql.DeadlockDetected,
    sql.LockNotAvailable,
    sql.QueryCanceled,
)
"""Errors after which the same batch may succeed on the same connection."""

_UNKNOWN = (sql.StatementCompletionUnknown, sql.TransactionResolutionUnknown)
"""Errors of a commit that may have happened."""


class _UnreachableError(psycopg.OperationalError):
    """No connection can be made to a database that this release can use."""


class _UnreplicatedError(psycopg.OperationalError):
    """The wait for the standby was cancelled: the transaction may be lost."""


class _UnknownOutcomeError(Exception):
    """Whether a batch was committed is unknown; `result` is its, if it was."""

    def __init__(self, result: BatchResult) -> None:
        super().__init__()
        self.result = result


@define(eq=False)
class Committer:
    """
    Carries out batches on a connection of its own, in one thread.

    `connect` makes a connection, `clock` maps the database's time to the time that is
    used.  `on_removed` is called with hashes of images before their removal is
    committed, and with all the hashes of a transaction at once; `on_lost` when no
    connection could be made.  `wait` waits for some seconds, or returns True because
    the process stops.  `monotonic` is in seconds.
    """

    _connect: Callable[[], psycopg.Connection[Any]]
    pending: Pending
    stats: DatabaseStats
    _clock: Callable[[float], float]
    _wait: Callable[[float], bool]
    _monotonic: Callable[[], float] = time.monotonic
    _on_removed: Callable[[Sequence[str]], object] = do_nothing
    _on_lost: Callable[[], object] = do_nothing
    _carry_out: Callable[..., BatchResult] = carry_out
    events: StoreEvents = field(init=False, factory=StoreEvents)
    """Counts of what was committed."""
    began: float | None = field(init=False, default=None)
    """When the batch under way began; None between batches."""
    _asked: float | None = field(init=False, default=None)
    """When the server was given what it works on."""
    _row: NodeRow = field(init=False, factory=NodeRow)
    _link: Link | None = field(init=False, default=None)
    _connected_before: bool = field(init=False, default=False)
    _knows_replication: bool = field(init=False, default=False)
    _warnings: int = field(init=False, default=0)
    _invalidated: float = field(init=False, default=float("-inf"))
    _fault_log: FaultLog = field(init=False)

    @_fault_log.default
    def _(self) -> FaultLog:
        return FaultLog("writing to the database", self._monotonic)

    def open(self) -> None:
        """
        Connect, check the tables, and commit a first batch, which is empty.

        Errors: `StoreVersionError`, `psycopg.Error`, those of `execute`.
        """
        try:
            self._linked()
        except _UnreachableError as error:
            if isinstance(error.__cause__, StoreVersionError):
                raise error.__cause__ from None
            raise
        self.execute(())

    def close(self) -> None:
        """Delete the row of this node if possible, and disconnect."""
        link = self._link
        if link is None:
            return
        try:
            with self._asking():
                self._row.delete(link.connection)
        except psycopg.Error as error:
            _log.info(
                "the row of this node stays in the database: {error}", error=error
            )
        self._discard()

    def forget_other_nodes(self) -> None:
        """
        Delete the rows of nodes that are gone for long.

        Errors: `DatabaseUnavailableError`, `StorageFailedError`.
        """
        try:
            connection = self._linked().connection
            with self._asking():
                self._row.forget_others(connection)
        except psycopg.Error as error:
            self._discard()
            raise self._failure(error) from error

    def cut_if_hung(self) -> None:
        """Give up a connection that does not answer for `CUT_AFTER`; any thread."""
        asked, link = self._asked, self._link
        if asked is not None and link and self._monotonic() - asked >= CUT_AFTER:
            link.cut()

    def execute(self, operations: Sequence[AnyOperation]) -> Sequence[Any]:
        """
        Carry out a batch, in transactions of a bounded size; return the outcomes.

        Errors, if nothing was committed: `CommitFailedError`,
        `DatabaseUnavailableError`, `StorageFailedError`, `StorageFullError`.
        """
        self.began = self._monotonic()
        outcomes: list[Any] = []
        try:
            for part in _parts(operations):
                try:
                    outcomes += self._commit(part, self.began)
                except AsciidError as error:
                    if not outcomes:
                        raise
                    outcomes += [error] * len(part)
        finally:
            self.began = None
        return outcomes

    def _commit(self, operations: Sequence[AnyOperation], began: float) -> list[Any]:
        """Commit one transaction, however often it has to be tried."""
        for delay in delays():
            try:
                result = self._attempt(operations)
            except _UnknownOutcomeError as unknown:
                if not self._settle(began):
                    self.stats.retries += 1
                    continue
                result = unknown.result
            except (psycopg.Error, RowMissingError) as error:
                self._check_rerun(error)
                if (
                    isinstance(error, _UnreachableError)
                    or self._monotonic() - began >= RERUN_FOR
                    or self._wait(delay)
                ):
                    self._fault_log.failed(one_line(error))
                    self._on_lost()
                    raise DatabaseUnavailableError from error
                self.stats.retries += 1
                continue
            except Exception as error:
                if isinstance(error, AsciidError):
                    raise
                _log.failure("a batch failed unexpectedly")
                raise StorageFailedError from error
            self._fault_log.succeeded()
            self.events.add(result.events)
            return result.outcomes
        raise AssertionError  # pragma: no cover - there is no last delay

    def _attempt(self, operations: Sequence[AnyOperation]) -> BatchResult:
        """
        Carry out one transaction.

        Errors: `_UnknownOutcomeError`; `psycopg.Error`, `RowMissingError` or any other
        one if nothing was committed.
        """
        connection = self._linked().connection
        if self._monotonic() - self._invalidated >= INVALIDATE_EVERY:
            self._invalidate()
        sent: BatchResult | None = None
        try:
            with self._asking(), connection.pipeline():
                fence = self._row.fence(connection)
                result = self._carry_out(
                    connection, operations, self.pending, lambda: self._used(fence.now)
                )
                is_replicated = fence.is_replicated
                if result.removed:
                    self._on_removed(result.removed)
                    notify(connection, result.removed)
                warnings = self._warnings
                sent = result
                commit = connection.execute("COMMIT")
        except BaseException as error:
            self._invalidate()
            unknown = sent is not None and not _is_rolled_back(connection, error)
            self._end(connection, error)
            if unknown:
                raise _UnknownOutcomeError(result) from error
            raise
        if self._warnings != warnings:
            self._invalidate()
            self.stats.unreplicated += 1
            raise _UnknownOutcomeError(result)
        if commit.statusmessage != "COMMIT":
            message = f"COMMIT was answered {commit.statusmessage}"
            raise psycopg.OperationalError(message)
        self._note_replication(is_replicated=is_replicated)
        return result

    def _settle(self, began: float) -> bool:
        """
        Return whether the last batch, whose outcome is unknown, was committed.

        Errors: `CommitFailedError` if that stays unknown.
        """
        for delay in delays():
            try:
                committed = self._ask_outcome()
            except RowMissingError:
                # It may have been committed before the row was deleted.
                self._row.renew()
                break
            except psycopg.Error as error:
                self._fault_log.failed(one_line(error))
                if self._monotonic() - began >= SETTLE_FOR or self._wait(delay):
                    break
            else:
                if committed:
                    self.stats.settled_committed += 1
                else:
                    self.stats.settled_rerun += 1
                return committed
        self.stats.unresolved += 1
        self._on_lost()
        raise CommitFailedError

    def _ask_outcome(self) -> bool:
        connection = self._linked().connection
        warnings = self._warnings
        try:
            with self._asking():
                committed = self._row.has_committed(connection, self._row.batch)
        except psycopg.Error as error:
            self._end(connection, error)
            raise
        if self._warnings != warnings:
            # This commit's wait for the standby was cancelled, too.
            self.stats.unreplicated += 1
            raise _UnreplicatedError
        return committed

    def _linked(self) -> Link:
        """Return the connection; make one if there is none."""
        if self._link is not None:
            return self._link
        try:
            connection = self._connect()
        except psycopg.Error as error:
            self._on_lost()
            raise _UnreachableError(one_line(error)) from error
        connection.add_notice_handler(self._noticed)
        self._link = link = Link(connection)
        try:
            with self._asking():
                check_version(connection)
                self._row.insert(connection)
        except StoreVersionError as error:
            # It was migrated by another release, or is another database.
            self._discard()
            self._on_lost()
            raise _UnreachableError(str(error)) from error
        except BaseException:
            self._discard()
            raise
        if self._connected_before:
            self.stats.reconnects += 1
        self._connected_before = True
        return link

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Note that the server is to answer, for `cut_if_hung`."""
        self._asked = self._monotonic()
        try:
            yield
        finally:
            self._asked = None

    def _noticed(self, notice: sql.Diagnostic) -> None:
        # The text is in the server's language.
        if notice.sqlstate == "01000":
            self._warnings += 1

    def _end(self, connection: psycopg.Connection[Any], error: BaseException) -> None:
        """Roll back, or disconnect where that is not possible."""
        if isinstance(error, _RERUN) and not connection.closed:
            try:
                connection.execute("ROLLBACK")
            except psycopg.Error:
                self._discard()
        else:
            self._discard()

    def _discard(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _check_rerun(self, error: Exception) -> None:
        """Raise the outcome of a batch that would fail again."""
        if isinstance(error, RowMissingError):
            self._row.renew()
        elif not isinstance(error, _RERUN):
            failure = self._failure(error)
            if not isinstance(failure, DatabaseUnavailableError):
                self._fault_log.failed(one_line(error))
                raise failure from error

    def _failure(self, error: Exception) -> AsciidError:
        """Return the domain error of an error of the database."""
        if isinstance(error, sql.DiskFull):
            return StorageFullError()
        if is_of_connection(error) or isinstance(error, _RERUN):
            return DatabaseUnavailableError()
        return StorageFailedError()

    def _invalidate(self) -> None:
        self.pending.invalidate()
        self._invalidated = self._monotonic()

    def _used(self, milliseconds: int) -> int:
        """Return the time that is used, for the database's."""
        return round(self._clock(milliseconds / 1000) * 1000)

    def _note_replication(self, *, is_replicated: bool) -> None:
        if self._knows_replication and self.stats.is_replicated == is_replicated:
            return
        self._knows_replication = True
        self.stats.is_replicated = is_replicated
        if is_replicated:
            _log.info("commits wait for a synchronous standby of the database")
        else:
            _log.warn(
                "the database has no synchronous standby: what is acknowledged is on "
                "one server only"
            )


def _is_rolled_back(connection: psycopg.Connection[Any], error: BaseException) -> bool:
    """Return whether the server said that a transaction has failed, COMMIT or not."""
    return (
        isinstance(error, psycopg.Error)
        and error.diag.severity_nonlocalized == "ERROR"
        and not connection.closed
        and not isinstance(error, _UNKNOWN)
    )


def _parts(operations: Sequence[AnyOperation]) -> Iterator[Sequence[AnyOperation]]:
    """Cut a batch into transactions; one without operations is one, too."""
    first = size = 0
    for index, operation in enumerate(operations):
        full = index - first >= MAX_OPERATIONS or size + operation.size > MAX_BYTES
        if full and index > first:
            yield operations[first:index]
            first, size = index, 0
        size += operation.size
    yield operations[first:]
