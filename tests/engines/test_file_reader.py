"""Tests of asciid.engines.lmdb._file_reader, without a writer."""

from __future__ import annotations

from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

import lmdb
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines._batching import READERS
from asciid.engines.lmdb import _file_reader
from asciid.engines.lmdb._environment import Environment, EnvironmentClosedError
from asciid.engines.lmdb.maintenance import StorageLock
from asciid.engines.lmdb.sharing import LMDBReader, prepare_storage
from asciid.errors import ImageNotFoundError, StorageFailedError, StoreClosedError
from asciid.store.queries import FindComplete, MeasureUsage
from asciid.testing import ManualReactor, ManualThreadPool, run
from tests.store._support import no_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ResultT = TypeVar("ResultT")
NOWHERE = "0" * 64


class ReaderTests(SynchronousTestCase):
    """A reader whose threads are turned by hand."""

    def setUp(self) -> None:
        """Open it."""
        self.reactor, self.pool = ManualReactor(), ManualThreadPool()
        self.generation = 0
        path = Path(self.mktemp())
        lock = StorageLock(path)
        lock.acquire()
        self.addCleanup(lock.release)
        self.assertEqual(prepare_storage(path, sync=True).images, 0)
        self.reader = LMDBReader(
            path,
            reactor=self.reactor,
            file_generation=lambda: self.generation,
            read_pool=self.pool,
        )
        self.run_(self.reader.open_file())
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Close it."""
        self.run_(Deferred.fromCoroutine(self.reader.stop()))

    def count(self) -> Deferred[int]:
        """Return the number of images."""
        return self.reader.ask(MeasureUsage()).addCallback(lambda usage: usage.images)

    def run_(self, awaited: Deferred[ResultT]) -> ResultT:
        """Turn everything until `awaited` fires."""
        return run(awaited, self.reactor, self.pool)

    def let_reads_fail(self, *errors: Exception) -> list[str]:
        """Have the next reads fail like that; return how the map is followed."""
        environment, failing = self.reader._environment, list(errors)
        read = environment.read
        followed: list[str] = []

        def fails(query: Callable[[Any], ResultT]) -> ResultT:
            if failing:
                raise failing.pop(0)
            return read(query)

        def remap(*, grow: bool) -> None:
            self.assertFalse(grow)
            followed.append("remap")

        # Its class has slots.
        kind = type(environment)
        self.patch(kind, "read", lambda _, query: fails(query))
        self.patch(kind, "remap", lambda _, *, grow: remap(grow=grow))
        return followed

    def test_file_grown(self) -> None:
        """A file that the writer has grown is followed, and read again."""
        followed = self.let_reads_fail(lmdb.MapResizedError("read"))
        self.assertEqual(self.run_(self.count()), 0)
        self.assertEqual(followed, ["remap"])

    def test_cannot_be_followed(self) -> None:
        """If that fails, so does the read, and the next one reopens it."""
        self.let_reads_fail(lmdb.MapResizedError("read"))

        def remap(*_: object, **__: object) -> None:
            raise lmdb.MemoryError("remap")

        self.patch(type(self.reader._environment), "remap", remap)
        self.assertRaises(StorageFailedError, self.run_, self.count())
        self.assertEqual(self.run_(self.count()), 0)

    def test_client_leaves(self) -> None:
        """If the read that waits for the new map is cancelled, others still run."""
        followed = self.let_reads_fail(lmdb.MapResizedError("read"))
        asking, reading = self.count(), self.count()
        self.pool.step()
        self.reactor.advance(0)
        self.assertNoResult(asking)
        self.assertEqual(followed, [])
        asking.cancel()
        self.failureResultOf(asking, CancelledError)
        self.assertEqual(self.run_(reading), 0)
        self.assertEqual(self.run_(self.count()), 0)

    def test_grown_while_it_is_closed(self) -> None:
        """A read that would follow the file waits until it is open again."""
        followed = self.let_reads_fail(lmdb.MapResizedError("read"))
        counting = self.count()
        closing = self.reader.close_file()
        for _ in ("read", "close"):
            self.pool.step()
            self.reactor.advance(0)
        self.successResultOf(closing)
        self.assertEqual(followed, [])
        opening = self.reader.ask(FindComplete(NOWHERE, 1))
        self.reactor.advance(0)
        self.assertFalse(self.pool.step())
        self.run_(self.reader.open_file())
        self.assertEqual(self.run_(counting), 0)
        self.assertRaises(ImageNotFoundError, self.run_, opening)

    def test_reactor_is_free(self) -> None:
        """The file is closed, opened and mapped in the threads that read it."""
        kind, calls = type(self.reader._environment), []
        for name in ("open", "close", "remap"):

            def recorded(*_: object, _name: str = name, **__: object) -> None:
                calls.append(_name)

            self.patch(kind, name, recorded)
        self.let_reads_fail(lmdb.MapResizedError("read"))
        self.patch(kind, "remap", lambda *_, **__: calls.append("remap"))

        def changes() -> Iterator[tuple[Deferred[Any], list[str]]]:
            yield self.reader.open_file(), ["close", "open"]
            reading = self.count()
            self.pool.step()
            yield reading, ["remap"]
            self.generation += 1
            yield self.count(), ["close", "open"]
            yield self.reader.close_file(), ["close"]

        for change, expected in changes():
            self.reactor.advance(0)
            self.assertEqual(calls, [])
            self.pool.step()
            self.assertEqual(calls, expected)
            self.run_(change)
            calls.clear()

    def test_client_leaves_while_it_is_mapped(self) -> None:
        """No read begins under the change of the map, even if nobody awaits that."""
        self.let_reads_fail(lmdb.MapResizedError("read"))
        asking = self.count()
        self.pool.step()
        self.reactor.advance(0)
        asking.cancel()
        self.failureResultOf(asking, CancelledError)
        reading = self.count()
        self.assertEqual(len(self.pool.work), 1)
        self.assertEqual(self.run_(reading), 0)

    def test_stopped_while_it_is_opened(self) -> None:
        """A stop waits for the file to be open, then closes it; no read is lost."""
        opening, reading = self.reader.open_file(), self.count()
        stopping = Deferred.fromCoroutine(self.reader.stop())
        self.assertNoResult(stopping)
        # No read begins under the change.
        self.assertEqual(len(self.pool.work), 1)
        self.run_(opening)
        self.run_(stopping)
        self.assertEqual(self.successResultOf(reading), 0)
        self.assertFalse(self.reader._environment.is_open)
        self.failureResultOf(self.reader.open_file(), StoreClosedError)
        self.assertFalse(self.reader._environment.is_open)

    def test_two_uses(self) -> None:
        """The second waits for the first: no read begins under a file it closes."""
        environment, reading = self.reader._environment, self.count()
        uses = [self.reader.open_file(), self.reader.close_file()]
        waiting = self.count()
        for _ in ("read", "open"):
            self.pool.step()
            self.reactor.advance(0)
        # The first let the second read begin: the other waits for that, too.
        self.successResultOf(uses[0])
        self.successResultOf(reading)
        self.assertNoResult(uses[1])
        self.assertTrue(environment.is_open)
        self.run_(waiting)
        self.run_(uses[1])
        self.assertFalse(environment.is_open)
        self.assertRaises(EnvironmentClosedError, environment.read, list)

    def test_stopped(self) -> None:
        """After the stop nothing is read."""
        self.stop()
        self.failureResultOf(self.count(), StoreClosedError)

    def nowhere(self) -> LMDBReader:
        """Make a reader that opens nothing."""
        return LMDBReader(
            Path("nowhere"), reactor=self.reactor, file_generation=lambda: 0
        )

    def test_exchanged_file(self) -> None:
        """A file that was replaced is not read, even without a notification."""
        environment = self.reader._environment
        opened: list[str] = []
        works = type(environment).open

        def counted(own: Environment) -> None:
            opened.append("")
            works(own)

        self.patch(type(environment), "open", counted)
        self.run_(self.count())
        self.assertEqual(opened, [])
        self.generation += 1
        for _ in range(2):
            self.run_(self.count())
            self.assertEqual(opened, [""])

    def test_exchanged_file_that_cannot_be_opened(self) -> None:
        """Until it can be, nothing is read; the writer has it opened again."""
        environment = self.reader._environment

        def failing(_: object) -> None:
            message = "Too many open files"
            raise OSError(message)

        patched = self.patch(type(environment), "open", failing)
        self.generation += 1
        self.assertRaises(StorageFailedError, self.run_, self.count())
        counting = self.count()
        self.assertFalse(self.pool.step())
        self.assertNoResult(counting)
        patched.restore()
        self.run_(self.reader.open_file())
        self.assertEqual(self.run_(counting), 0)

    def test_own_threads(self) -> None:
        """It has threads of its own, which end with it."""
        made: list[Any] = []

        def pool(*arguments: object) -> ManualThreadPool:
            made.append(arguments)
            return self.pool

        self.patch(_file_reader, "FixedThreadPool", pool)
        self.nowhere()
        self.assertEqual(made, [(READERS, "asciid-reader")])

    def test_no_threads(self) -> None:
        """It does not start without its threads."""
        self.patch(Thread, "start", no_thread)
        error = self.assertRaises(OSError, self.nowhere().start)
        self.assertIn("can't start new thread", str(error))
