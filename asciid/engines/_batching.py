"""
Batches writes into transactions in one thread, and runs reads in a pool.

The price of a durable write is the sync, not the bytes.  So while one batch is
on its way to the disk, the reactor collects the next; operations that arrive before
the thread is free share one transaction and one sync.
"""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger

from asciid.engines._callbacks import do_nothing
from asciid.engines._queue_size import QueueSize
from asciid.engines._submissions import Submission, deliver
from asciid.errors import (
    AsciidError,
    CommitFailedError,
    StoreBusyError,
    StoreClosedError,
)
from asciid.runtime.frames import forget_tracebacks
from asciid.runtime.histogram import Histogram
from asciid.store.operations import all_outcomes
from asciid.store.stats import BATCH_SIZES, COMMIT_TIMES, StoreStats

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure
    from twisted.python.threadpool import ThreadPool

    from asciid.store.pending import PendingUploads
    from asciid.store.stats import StoreEvents

__all__ = [
    "READERS",
    "BatchWriter",
    "IWriterReactor",
    "ReadPool",
    "batching_stats",
    "start_threads",
]

READERS = 3
"""Threads that read."""

OperationT = TypeVar("OperationT")
ResultT = TypeVar("ResultT")

_log = Logger()


class IWriterReactor(Protocol):
    """The required methods of the reactor: delayed calls and calls from threads."""

    def callLater(
        self, delay: float, call: Callable[..., object], /, *args: object
    ) -> IDelayedCall: ...

    def callFromThread(self, call: Callable[..., object], /, *args: object) -> None: ...


class BatchWriter(Generic[OperationT]):
    """
    Runs operations on a storage file in batches, one batch at a time.

    `execute` is called in a thread of `pool` with the operations of a batch.
    It runs them in one transaction, commits, and returns as many outcomes: an
    exception is the failure of that operation alone, anything else its result.
    If it raises, `recover` is called on the reactor with the exception and returns,
    in a Deferred, the exception that the whole batch fails with, or None to have the
    same batch run again, of which nothing may have been committed then.

    Once all outcomes of a batch are delivered, `delivered` is called in the same turn
    of the reactor.  Then `pause` is called with the call that begins the next batch,
    and makes it once clients that were answered have had time for their next request.

    `queue` bounds the operations that wait for the next batch.  A batch costs one
    hand-over to the thread and one wake-up of the reactor, however many operations
    are in it.
    `batch_sizes` and `commit_times` are those of committed batches; `monotonic`
    is in seconds.
    """

    def __init__(  # noqa: PLR0913 - each is a collaborator or a bound of its own
        self,
        execute: Callable[[Sequence[OperationT]], Sequence[Any]],
        recover: Callable[[Exception], Deferred[Exception | None]],
        *,
        reactor: IWriterReactor,
        pool: ThreadPool,
        queue: QueueSize | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        delivered: Callable[[], object] = do_nothing,
        pause: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self._delivered = delivered
        self._execute = execute
        self._recover = recover
        self._reactor = reactor
        self._pool = pool
        self.queue = queue or QueueSize()
        self._monotonic = monotonic
        self._pause = pause or self._poll
        self.batch_sizes = Histogram(BATCH_SIZES)
        self.commit_times = Histogram(COMMIT_TIMES)
        self._waiting: list[Submission[OperationT]] = []
        self._alone: deque[Callable[[], None]] = deque()
        self._scheduled = False
        self._busy = False
        self._stopped: Deferred[None] | None = None

    def start(self) -> None:
        """Start the thread pool."""
        self._pool.start()

    def submit(
        self,
        operations: Sequence[OperationT],
        size: int = 0,
        then: Callable[[Sequence[Any]], Any] = all_outcomes,
    ) -> Deferred[Any]:
        """
        Queue operations, which hold `size` bytes of memory while they wait.

        Once the batch that holds them is committed, `then` is called with their
        outcomes, as `execute` returns them, and the Deferred fires with its result; see
        `IEngine.apply`.  Cancelling it does not take them back.
        An operation may run more than once, each time on a new transaction of
        which nothing earlier was committed.

        Errors: `StoreBusyError` past a bound, `StoreClosedError` after `stop`; none
        of them was accepted then.
        """
        if self._stopped is not None:
            return fail(StoreClosedError())
        if not self.queue.add(len(operations), size):
            return fail(StoreBusyError())
        submission = Submission(operations, size, then)
        self._waiting.append(submission)
        if not self._busy and not self._scheduled:
            self._schedule()
        return submission.done

    def refuse_waiting(self, error: Exception) -> None:
        """Fail what waits for the next batch, as if it had not been accepted."""
        waiting, self._waiting = self._waiting, []
        self.queue.clear()
        for submission in waiting:
            submission.done.errback(error)

    def run_alone(
        self, work: Callable[[], Coroutine[Deferred[Any], Any, ResultT]]
    ) -> Deferred[ResultT]:
        """
        Do `work` between two batches: the next one begins once it is done.

        Operations submitted meanwhile wait.  Cancelling the Deferred does not end
        the work, which may use `call_in_thread`.

        Errors: those of `work`, `StoreClosedError` after `stop`.
        """
        if self._stopped is not None:
            return fail(StoreClosedError())
        done: Deferred[ResultT] = Deferred()

        def ended(outcome: ResultT | Failure) -> None:
            self._next()
            # Also delivers failures.
            done.callback(outcome)

        def begin() -> None:
            Deferred.fromCoroutine(work()).addBoth(ended)

        self._alone.append(begin)
        if not self._busy and not self._scheduled:
            self._schedule()
        return done

    def call_in_thread(self, call: Callable[[], ResultT]) -> Deferred[ResultT]:
        """Make `call` in the writer's thread; for work that runs alone."""
        done: Deferred[ResultT] = Deferred()

        def run() -> None:
            try:
                result = call()
            except Exception as error:  # noqa: BLE001 - delivered to the caller
                self._reactor.callFromThread(done.errback, error)
            else:
                self._reactor.callFromThread(done.callback, result)

        try:
            self._pool.callInThread(run)
        except RuntimeError:
            return fail(_no_thread())
        return done

    def _schedule(self) -> None:
        # Not at once: other operations of this turn of the reactor share the batch.
        self._scheduled = True
        self._reactor.callLater(0, self._begin)

    def stop(self) -> Deferred[None]:
        """Accept nothing more; answer once everything accepted was carried out."""
        if self._stopped is None:
            self._stopped = Deferred()
            if not self._busy and not self._scheduled:
                self._finish_stop(self._stopped)
        return self._stopped

    def _begin(self) -> None:
        self._scheduled = False
        if self._alone:
            self._busy = True
            self._alone.popleft()()
            return
        batch, self._waiting = self._waiting, []
        self.queue.clear()
        self._hand_over(batch)

    def _hand_over(self, batch: list[Submission[OperationT]]) -> None:
        self._busy = True
        try:
            self._pool.callInThread(self._run, batch)
        except RuntimeError:
            # Not at once: the pause expects that it is called in a turn of its own.
            self._reactor.callLater(0, self._fail, batch, _no_thread())

    def _run(self, batch: list[Submission[OperationT]]) -> None:
        """Carry out a batch, in the thread."""
        began = self._monotonic()
        operations = [one for each in batch for one in each.operations]
        try:
            outcomes = self._execute(operations)
        except Exception as error:  # noqa: BLE001 - the outcome of the batch
            self._reactor.callFromThread(self._failed, batch, error)
        else:
            self.commit_times.add(self._monotonic() - began)
            self.batch_sizes.add(len(operations))
            self._reactor.callFromThread(self._committed, batch, outcomes)

    def _committed(
        self, batch: list[Submission[OperationT]], outcomes: Sequence[Any]
    ) -> None:
        deliver(batch, outcomes)
        self._delivered()
        # Clients that were just answered send their next request at once, and with
        # these the next batch is about twice as large.
        self._pause(self._next)

    def _poll(self, then: Callable[[], None]) -> None:
        # The reactor polls for input between the two calls.
        self._reactor.callLater(0, self._reactor.callLater, 0, then)

    def _failed(self, batch: list[Submission[OperationT]], error: Exception) -> None:
        def decided(failure: Exception | None) -> None:
            if failure is None:
                self._hand_over(batch)
            else:
                self._fail(batch, failure)

        def unexpected(failure: Failure) -> None:
            # The next batch may do better; without this there would be none.
            _log.failure("recovery of the storage failed", failure)
            decided(CommitFailedError())

        self._recover(error).addCallbacks(decided, unexpected)

    def _fail(self, batch: list[Submission[OperationT]], failure: Exception) -> None:
        operations = sum(len(each.operations) for each in batch)
        self._committed(batch, [failure] * operations)

    def _next(self) -> None:
        self._busy = False
        if self._waiting or self._alone:
            self._begin()
        elif self._stopped is not None:
            self._finish_stop(self._stopped)

    def _finish_stop(self, stopped: Deferred[None]) -> None:
        self._pool.stop()
        # After the Deferreds of the last batch, which fire in this turn.
        self._reactor.callLater(0, stopped.callback, None)


def _no_thread() -> StoreBusyError:
    """Log that a pool cannot create a thread; return the caller's error."""
    _log.failure("storage unavailable: cannot create a thread")
    return StoreBusyError()


class ReadPool:
    """
    Runs reads in a thread pool, and can wait until none is under way.

    At most `max_waiting` reads are under way or queued at a time.
    """

    def __init__(
        self, *, reactor: IWriterReactor, pool: ThreadPool, max_waiting: int = 16_384
    ) -> None:
        self._reactor = reactor
        self._pool = pool
        self.max_waiting = max_waiting
        self._active = 0
        self._held: list[Callable[[], None]] | None = None
        self._quiet: list[Deferred[None]] = []
        self._closed = False

    def start(self) -> None:
        """Start the thread pool."""
        self._pool.start()

    @property
    def waiting(self) -> int:
        """How many reads are under way or wait."""
        return self._active + len(self._held or ())

    def run(self, read: Callable[[], ResultT]) -> Deferred[ResultT]:
        """
        Call `read` in a thread; the Deferred has its result or exception.

        Errors: `StoreBusyError` past the bound, `StoreClosedError` after `stop`.
        """
        if self._closed:
            return fail(StoreClosedError())
        if self.waiting >= self.max_waiting:
            return fail(StoreBusyError())
        done: Deferred[ResultT] = Deferred()
        if self._held is None:
            self._begin(read, done)
        else:
            self._held.append(partial(self._begin, read, done))
        return done

    def call_in_thread(self, call: Callable[[], ResultT]) -> Deferred[ResultT]:
        """
        Make `call` in a thread at once, even while reads are held back.

        Errors: those of `call`, `StoreBusyError` without a thread, `StoreClosedError`
        after `stop`.
        """
        if self._closed:
            return fail(StoreClosedError())
        done: Deferred[ResultT] = Deferred()
        self._begin(call, done)
        return done

    def hold(self) -> Deferred[None]:
        """Let no new read begin; answer once none is under way."""
        if self._held is None:
            self._held = []
        quiet: Deferred[None] = Deferred()
        self._quiet.append(quiet)
        self._fire_quiet()
        return quiet

    def release(self) -> None:
        """Let the reads that `hold` kept back begin."""
        held, self._held = self._held or [], None
        for begin in held:
            begin()

    def stop(self) -> Deferred[None]:
        """Accept nothing more; answer once every read is finished."""
        self._closed = True
        self.release()
        return self.hold().addCallback(lambda _: self._pool.stop())

    def _begin(self, read: Callable[[], ResultT], done: Deferred[ResultT]) -> None:
        self._active += 1
        try:
            self._pool.callInThread(self._run, read, done)
        except RuntimeError:
            self._ended(done.errback, _no_thread())

    def _run(self, read: Callable[[], ResultT], done: Deferred[ResultT]) -> None:
        """Carry out a read, in a thread."""
        try:
            result = read()
        except Exception as error:  # noqa: BLE001 - delivered to the caller
            if isinstance(error, AsciidError):
                forget_tracebacks(error)
            self._reactor.callFromThread(self._ended, done.errback, error)
        else:
            self._reactor.callFromThread(self._ended, done.callback, result)

    def _ended(self, fire: Callable[[Any], None], outcome: object) -> None:
        self._active -= 1
        self._fire_quiet()
        fire(outcome)

    def _fire_quiet(self) -> None:
        if self._active == 0:
            quiet, self._quiet = self._quiet, []
            for waiting in quiet:
                waiting.callback(None)


def start_threads(writer: BatchWriter[Any], reads: ReadPool) -> None:
    """
    Start the threads of both, or none.

    Errors: `OSError`.
    """
    writer.start()
    try:
        reads.start()
    except OSError:
        writer.stop()
        raise


def batching_stats(
    writer: BatchWriter[Any],
    reads: ReadPool,
    events: StoreEvents,
    pending: PendingUploads[Any],
) -> StoreStats:
    """Return the statistics of an engine that consists of these."""
    queue = writer.queue
    uploads, clients = pending.tracked
    return StoreStats(
        events=events,
        batch_sizes=writer.batch_sizes,
        commit_times=writer.commit_times,
        queue_operations=queue.operations,
        max_queue_operations=queue.max_operations,
        queue_bytes=queue.bytes,
        max_queue_bytes=queue.max_bytes,
        reads=reads.waiting,
        max_reads=reads.max_waiting,
        max_uploads=pending.limits.total,
        max_client_uploads=pending.limits.per_client,
        tracked_uploads=uploads,
        tracked_clients=clients,
    )
