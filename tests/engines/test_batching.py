"""Tests of asciid.engines._batching, stepped by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines._batching import BatchWriter, ReadPool
from asciid.engines._queue_size import QueueSize
from asciid.errors import (
    StorageFailedError,
    StorageFullError,
    StoreBusyError,
    StoreClosedError,
)
from asciid.store.operations import single_outcome
from asciid.testing import ManualReactor, ManualThreadPool
from tests.store._support import no_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


Operation: TypeAlias = "Callable[[list[str]], object]"


class BatchWriterTests(SynchronousTestCase):
    """The batching writer."""

    def setUp(self) -> None:
        """Make a writer that appends to `log`."""
        self.reactor = ManualReactor()
        self.pool = ManualThreadPool()
        self.batches: list[int] = []
        self.log: list[str] = []
        self.broken: Exception | None = None
        self.recovered: list[Exception] = []
        self.verdict: Deferred[Exception | None] = succeed(None)
        self.writer: BatchWriter[Operation] = BatchWriter(
            self.execute,
            self.recover,
            reactor=self.reactor,
            pool=self.pool,
            queue=QueueSize(max_operations=4, max_bytes=100),
        )
        self.writer.start()

    def execute(self, operations: Sequence[Operation]) -> list[Any]:
        """Carry out a batch, or fail as a whole."""
        if self.broken is not None:
            raise self.broken
        self.batches.append(len(operations))
        outcomes: list[object] = []
        for operation in operations:
            try:
                outcomes.append(operation(self.log))
            except ValueError as error:
                outcomes.append(error)
        return outcomes

    def recover(self, error: Exception) -> Deferred[Exception | None]:
        """Return the test's result."""
        self.recovered.append(error)
        return self.verdict

    def append(self, text: str, size: int = 0) -> Deferred[None]:
        """Submit an operation that appends `text` to the log."""
        return self.submit(lambda log: log.append(text), size)

    def submit(self, operation: Operation, size: int = 0) -> Deferred[Any]:
        """Submit an operation alone."""
        return self.writer.submit([operation], size).addCallback(single_outcome)

    def turn(self) -> None:
        """Turn the reactor once."""
        self.reactor.advance(0)

    def settle(self) -> None:
        """Turn reactor and thread until nothing is left to do."""
        self.turn()
        while self.pool.step() or self.reactor.getDelayedCalls():
            self.turn()

    def test_starts_its_pool(self) -> None:
        """The pool runs once the writer is started."""
        self.assertTrue(self.pool.started)

    def test_one_turn_is_one_batch(self) -> None:
        """Operations submitted in one turn of the reactor share a batch."""
        done = [self.append(text) for text in "abc"]
        self.assertEqual(len(self.pool.work), 0)
        self.turn()
        self.assertEqual(len(self.pool.work), 1)
        self.pool.step()
        self.assertEqual(self.log, ["a", "b", "c"])
        for awaited in done:
            self.assertNoResult(awaited)
        self.turn()
        for awaited in done:
            self.successResultOf(awaited)
        self.assertEqual(self.batches, [3])

    def test_collects_while_the_thread_works(self) -> None:
        """Operations submitted during a batch wait for the next, whatever the turns."""
        self.append("a")
        self.turn()
        for text in "bcd":
            self.append(text)
            self.turn()
        self.assertEqual(len(self.pool.work), 1)
        self.pool.step()
        self.turn()
        self.pool.step()
        self.turn()
        self.assertEqual(self.batches, [1, 3])

    def test_answers_before_the_next_batch(self) -> None:
        """Operations of clients that were just answered share the next batch."""

        def ask_again(_: None) -> None:
            self.assertEqual(len(self.pool.work), 0)
            self.append("c")

        self.append("a").addCallback(ask_again)
        self.turn()
        self.append("b")
        self.pool.step()
        self.turn()
        self.pool.step()
        self.turn()
        self.assertEqual(self.log, ["a", "b", "c"])
        self.assertEqual(self.batches, [1, 2])

    def test_outcomes(self) -> None:
        """Each operation gets its own result or its own failure."""

        def refuse(_: list[str]) -> None:
            raise ValueError

        first = self.submit(lambda _: 1)
        second = self.submit(refuse)
        third = self.submit(lambda _: 3)
        self.turn()
        self.pool.step()
        self.turn()
        self.assertEqual(self.successResultOf(first), 1)
        self.failureResultOf(second, ValueError)
        self.assertEqual(self.successResultOf(third), 3)

    def test_together(self) -> None:
        """Operations submitted together complete together, each with its outcome."""

        def refuse(_: list[str]) -> None:
            raise ValueError

        before = self.append("a")
        together = self.writer.submit([lambda _: 1, refuse])
        after = self.submit(lambda _: 4)
        self.turn()
        self.pool.step()
        self.turn()
        first, second = self.successResultOf(together)
        self.assertEqual(first, 1)
        self.assertIsInstance(second, ValueError)
        self.assertIsNone(self.successResultOf(before))
        self.assertEqual(self.successResultOf(after), 4)
        self.assertEqual(self.batches, [4])

    def test_together_or_not_at_all(self) -> None:
        """Operations submitted together are refused together, past a limit."""
        self.append("a")
        refused = self.writer.submit([lambda log: log.append("b")] * 4)
        self.failureResultOf(refused, StoreBusyError)
        self.settle()
        self.assertEqual(self.log, ["a"])

    def test_together_in_a_batch_that_fails(self) -> None:
        """Each of them has the failure of the batch for its outcome."""
        failure = StorageFullError()
        self.broken, self.verdict = OSError(), succeed(failure)
        together = self.writer.submit([lambda _: 1, lambda _: 2])
        self.settle()
        self.assertEqual(self.successResultOf(together), [failure, failure])

    def test_cancelled(self) -> None:
        """An operation is carried out even if its Deferred was cancelled."""
        awaited = self.append("a")
        awaited.addErrback(lambda _: None)
        awaited.cancel()
        self.turn()
        self.pool.step()
        self.turn()
        self.assertEqual(self.log, ["a"])

    def test_bounded_by_number(self) -> None:
        """Past the number of operations that may wait, more are refused."""
        for text in "abcd":
            self.append(text)
        self.failureResultOf(self.append("e"), StoreBusyError)
        self.turn()
        later = self.append("f")
        self.pool.step()
        self.turn()
        self.pool.step()
        self.turn()
        self.successResultOf(later)
        self.assertEqual(self.log, list("abcdf"))

    def test_bounded_by_bytes(self) -> None:
        """Past the bytes that may wait, more are refused."""
        self.append("a", size=60)
        self.failureResultOf(self.append("b", size=41), StoreBusyError)
        last = self.append("c", size=40)
        self.turn()
        self.append("d", size=100)
        self.pool.step()
        self.turn()
        self.successResultOf(last)
        self.assertEqual(self.log, ["a", "c"])

    def test_larger_than_the_bound(self) -> None:
        """What alone is past the bound is taken where nothing with bytes waits."""
        self.append("a")
        large = self.append("b", size=101)
        self.failureResultOf(self.append("c", size=1), StoreBusyError)
        self.append("d")
        self.settle()
        self.successResultOf(large)
        self.assertEqual(self.log, ["a", "b", "d"])

    def test_failed_batch_runs_again(self) -> None:
        """A batch that recovery can mend is run again, as it was."""
        self.broken = OSError("map full")
        self.verdict = Deferred()
        first = self.append("a")
        self.turn()
        self.pool.step()
        self.turn()
        second = self.append("b")
        self.assertEqual(self.recovered, [self.broken])
        self.assertEqual(len(self.pool.work), 0)
        self.broken = None
        self.verdict.callback(None)
        self.pool.step()
        self.turn()
        self.successResultOf(first)
        self.pool.step()
        self.turn()
        self.successResultOf(second)
        self.assertEqual(self.batches, [1, 1])

    def test_failed_batch_fails_alone(self) -> None:
        """A failed batch fails its operations, and none after it."""
        self.broken = OSError("no space")
        self.verdict = succeed(StorageFullError())
        failed = [self.append(text) for text in "ab"]
        self.turn()
        self.pool.step()
        later = self.append("c")
        self.turn()
        for awaited in failed:
            self.failureResultOf(awaited, StorageFullError)
        self.broken = None
        self.pool.step()
        self.turn()
        self.successResultOf(later)
        self.assertEqual(self.log, ["c"])

    def test_recovery_that_fails(self) -> None:
        """If recovery raises an unexpected error, only that batch fails."""
        self.broken = OSError("no space")
        self.verdict = fail(ZeroDivisionError("a mistake"))
        failed = self.append("a")
        self.settle()
        self.failureResultOf(failed, StorageFailedError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.broken = None
        later = self.append("b")
        self.settle()
        self.successResultOf(later)
        self.assertEqual(self.log, ["b"])

    def test_nothing(self) -> None:
        """An empty call is answered after all before it, and past the bounds, too."""
        done = [self.append(text) for text in "abcd"]
        flushed = self.writer.submit([])
        self.turn()
        self.assertNoResult(flushed)
        self.pool.step()
        self.turn()
        self.successResultOf(done[-1])
        self.successResultOf(flushed)

    def test_nothing_in_a_failing_batch(self) -> None:
        """An empty call succeeds though its batch fails."""
        self.broken = OSError("no space")
        self.verdict = succeed(StorageFullError())
        flushed = self.writer.submit([])
        self.turn()
        self.pool.step()
        self.turn()
        self.assertEqual(self.successResultOf(flushed), [])

    def test_stop_drains(self) -> None:
        """Stopping refuses further operations and finishes accepted ones."""
        first = self.append("a")
        self.turn()
        second = self.append("b")
        stopped = self.writer.stop()
        self.failureResultOf(self.append("c"), StoreClosedError)
        self.pool.step()
        self.turn()
        self.successResultOf(first)
        self.assertNoResult(stopped)
        self.assertFalse(self.pool.stopped)
        self.pool.step()
        self.turn()
        self.successResultOf(second)
        self.turn()
        self.successResultOf(stopped)
        self.assertTrue(self.pool.stopped)
        self.assertEqual(self.log, ["a", "b"])

    def test_stop_before_the_first_turn(self) -> None:
        """Operations accepted in the same turn as the stop are finished too."""
        awaited = self.append("a")
        stopped = self.writer.stop()
        self.turn()
        self.pool.step()
        self.turn()
        self.turn()
        self.successResultOf(awaited)
        self.successResultOf(stopped)

    def test_stop_idle(self) -> None:
        """An idle writer stops at once, and stopping twice is stopping once."""
        stopped = self.writer.stop()
        self.assertIs(self.writer.stop(), stopped)
        self.turn()
        self.successResultOf(stopped)

    def test_alone(self) -> None:
        """Work begins after the batch under way, and the next one after it."""
        release: Deferred[str] = Deferred()

        async def work() -> str:
            self.log.append("begin")
            outcome = await release
            self.log.append("end")
            return outcome

        self.append("first")
        self.reactor.advance(0)
        done = self.writer.run_alone(work)
        self.append("second")
        self.assertEqual(self.log, [])
        self.settle()
        self.assertEqual(self.log, ["first", "begin"])
        release.callback("done")
        self.assertEqual(self.successResultOf(done), "done")
        self.settle()
        self.assertEqual(self.log, ["first", "begin", "end", "second"])

    def test_work_that_fails(self) -> None:
        """A failure in the thread fails the call, and the writer continues."""

        async def work() -> None:
            await self.writer.call_in_thread(lambda: 1 / 0)

        done = self.writer.run_alone(work)
        stopped = self.writer.stop()
        self.assertNoResult(stopped)
        self.settle()
        self.failureResultOf(done, ZeroDivisionError)
        self.successResultOf(stopped)
        self.failureResultOf(self.writer.run_alone(work), StoreClosedError)

    def test_no_thread(self) -> None:
        """A batch for which there is no thread fails, and the next one is tried."""
        no_threads = self.patch(self.pool, "callInThread", no_thread)
        failed = [self.append("a"), self.append("b")]
        self.settle()
        for append in failed:
            self.failureResultOf(append, StoreBusyError)
        called = self.writer.call_in_thread(lambda: 1)
        self.failureResultOf(called, StoreBusyError)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)
        no_threads.restore()
        append = self.append("c")
        self.settle()
        self.successResultOf(append)
        self.assertEqual(self.log, ["c"])


class ReadPoolTests(SynchronousTestCase):
    """The pool for reads."""

    def setUp(self) -> None:
        """Make a pool."""
        self.reactor = ManualReactor()
        self.pool = ManualThreadPool()
        self.reads = ReadPool(reactor=self.reactor, pool=self.pool, max_waiting=2)
        self.reads.start()

    def step(self) -> bool:
        """Do one read and deliver its result."""
        stepped = self.pool.step()
        self.reactor.advance(0)
        return stepped

    def test_result(self) -> None:
        """A read has the result of its function."""
        self.assertTrue(self.pool.started)
        awaited = self.reads.run(lambda: 5)
        self.assertNoResult(awaited)
        self.step()
        self.assertEqual(self.successResultOf(awaited), 5)

    def test_failure(self) -> None:
        """A read fails with the exception of its function."""
        awaited = self.reads.run(lambda: int("none"))
        self.step()
        self.failureResultOf(awaited, ValueError)

    def test_bounded(self) -> None:
        """Past the number of reads that may wait, more are refused."""
        self.reads.run(lambda: None)
        self.reads.run(lambda: None)
        self.failureResultOf(self.reads.run(lambda: None), StoreBusyError)
        self.step()
        self.assertNoResult(self.reads.run(lambda: None))

    def test_hold(self) -> None:
        """While reads are held, those under way end and no new one begins."""
        first = self.reads.run(lambda: 1)
        quiet = self.reads.hold()
        second = self.reads.run(lambda: 2)
        self.failureResultOf(self.reads.run(lambda: 3), StoreBusyError)
        self.assertNoResult(quiet)
        self.step()
        self.successResultOf(first)
        self.successResultOf(quiet)
        self.assertFalse(self.step())
        self.reads.release()
        self.step()
        self.assertEqual(self.successResultOf(second), 2)

    def test_hold_twice(self) -> None:
        """A second hold waits for the same reads, and the first stays in force."""
        self.reads.run(lambda: 1)
        quiet = [self.reads.hold()]
        held = self.reads.run(lambda: 2)
        quiet.append(self.reads.hold())
        self.step()
        for awaited in quiet:
            self.successResultOf(awaited)
        self.reads.release()
        self.step()
        self.assertEqual(self.successResultOf(held), 2)

    def test_no_thread(self) -> None:
        """A read for which there is no thread fails, and is not waited for."""
        no_threads = self.patch(self.pool, "callInThread", no_thread)
        quiet = self.reads.hold()
        held = [self.reads.run(lambda: 1), self.reads.run(lambda: 2)]
        self.reads.release()
        for read in (*held, self.reads.run(lambda: 3)):
            self.failureResultOf(read, StoreBusyError)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 3)
        self.successResultOf(quiet)
        self.successResultOf(self.reads.hold())
        self.reads.release()
        no_threads.restore()
        awaited = self.reads.run(lambda: 4)
        self.step()
        self.assertEqual(self.successResultOf(awaited), 4)

    def test_stop(self) -> None:
        """Stopping takes nothing more and waits for the reads under way."""
        awaited = self.reads.run(lambda: 1)
        stopped = self.reads.stop()
        self.failureResultOf(self.reads.run(lambda: 2), StoreClosedError)
        self.assertFalse(self.pool.stopped)
        self.step()
        self.successResultOf(awaited)
        self.successResultOf(stopped)
        self.assertTrue(self.pool.stopped)
