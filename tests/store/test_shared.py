"""Tests of asciid.store._shared: one process that reads, by itself."""

from __future__ import annotations

from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

import lmdb
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from asciid.errors import ImageNotFoundError, StorageFailedError, StoreClosedError
from asciid.store import _shared
from asciid.store._environment import Environment, EnvironmentClosedError
from asciid.store._writer import READERS
from asciid.store.sharing import Generations, SharedStore, StorageLock, prepare_storage
from asciid.testing import ManualReactor, ManualThreadPool, run
from tests.store._support import no_thread

if TYPE_CHECKING:
    from collections.abc import Callable

ResultT = TypeVar("ResultT")
NOWHERE = "0" * 64


class NoOperations:
    """A way to a process that writes nothing."""

    max_operations = 1
    max_bytes = 1
    waiting = (0, 0)

    def submit(self, _: object) -> Deferred[Any]:
        """Refuse."""
        return fail(StoreClosedError())

    def stop(self) -> Deferred[None]:
        """There is nothing to wait for."""
        return succeed(None)


class SharedStoreTests(SynchronousTestCase):
    """A store whose threads are turned by hand."""

    def setUp(self) -> None:
        """Open it."""
        self.reactor, self.pool = ManualReactor(), ManualThreadPool()
        self.generations = Generations()
        path = Path(self.mktemp())
        lock = StorageLock(path)
        lock.acquire()
        self.addCleanup(lock.release)
        self.assertEqual(prepare_storage(path, sync=True).images, 0)
        self.store = SharedStore(
            path,
            NoOperations(),
            reactor=self.reactor,
            generations=self.generations,
            read_pool=self.pool,
        )
        self.run_(self.store.use("shared"))
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Close it."""
        self.run_(self.store.stop())

    def run_(self, awaited: Deferred[ResultT]) -> ResultT:
        """Turn everything until `awaited` fires."""
        return run(awaited, self.reactor, self.pool)

    def let_reads_fail(self, *errors: Exception) -> list[str]:
        """Have the next reads fail like that; return how the map is followed."""
        environment, failing = self.store._environment, list(errors)
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
        self.assertEqual(self.run_(self.store.count()), 0)
        self.assertEqual(followed, ["remap"])

    def test_cannot_be_followed(self) -> None:
        """If that fails, so does the read, and the next one begins anew."""
        self.let_reads_fail(lmdb.MapResizedError("read"))

        def remap(*_: object, **__: object) -> None:
            raise lmdb.MemoryError("remap")

        self.patch(type(self.store._environment), "remap", remap)
        self.assertRaises(StorageFailedError, self.run_, self.store.count())
        self.assertEqual(self.run_(self.store.count()), 0)

    def test_client_leaves(self) -> None:
        """If who waits for the map to be followed leaves, reads go on all the same."""
        followed = self.let_reads_fail(lmdb.MapResizedError("read"))
        asking, reading = self.store.count(), self.store.count()
        self.pool.step()
        self.reactor.advance(0)
        self.assertNoResult(asking)
        self.assertEqual(followed, [])
        asking.cancel()
        self.failureResultOf(asking, CancelledError)
        self.assertEqual(self.run_(reading), 0)
        self.assertEqual(self.run_(self.store.count()), 0)

    def test_grown_while_it_is_closed(self) -> None:
        """A read that would follow the file waits until it is open again."""
        followed = self.let_reads_fail(lmdb.MapResizedError("read"))
        counting = self.store.count()
        closing = self.store.use("closed")
        self.pool.step()
        self.reactor.advance(0)
        self.successResultOf(closing)
        self.assertEqual(followed, [])
        opening = self.store.open(NOWHERE)
        self.reactor.advance(0)
        self.assertFalse(self.pool.step())
        self.run_(self.store.use("shared"))
        self.assertEqual(self.run_(counting), 0)
        self.assertRaises(ImageNotFoundError, self.run_, opening)

    def test_two_uses(self) -> None:
        """The second waits for the first: no read begins under a file it closes."""
        environment, reading = self.store._environment, self.store.count()
        uses = [self.store.use("shared"), self.store.use("closed")]
        waiting = self.store.count()
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
        """After the stop nothing is changed, and nothing more is removed."""
        self.assertEqual(self.run_(self.store.expire()), 0)
        self.run_(self.store.stop())
        for asked in (
            self.store.expire(),
            self.store.delete(NOWHERE),
            self.store.add_chunk(NOWHERE, 0, b""),
            self.store.count(),
        ):
            self.failureResultOf(asked, StoreClosedError)
        self.assertFalse(self.store.health().open)

    def nowhere(self) -> SharedStore:
        """Make a store that opens nothing."""
        return SharedStore(
            Path("nowhere"),
            NoOperations(),
            reactor=self.reactor,
            generations=self.generations,
        )

    def test_exchanged_file(self) -> None:
        """A file that another took the place of is not read, though nobody says so."""
        environment = self.store._environment
        opened: list[str] = []
        works = type(environment).open

        def counted(own: Environment) -> None:
            opened.append("")
            works(own)

        self.patch(type(environment), "open", counted)
        self.run_(self.store.count())
        self.assertEqual(opened, [])
        self.generations.count_file()
        for _ in range(2):
            self.run_(self.store.count())
            self.assertEqual(opened, [""])

    def test_exchanged_file_that_cannot_be_opened(self) -> None:
        """Until it can be, nothing is read; the writer has it opened again."""
        environment = self.store._environment

        def failing(_: object) -> None:
            message = "Too many open files"
            raise OSError(message)

        patched = self.patch(type(environment), "open", failing)
        self.generations.count_file()
        self.assertRaises(StorageFailedError, self.run_, self.store.count())
        counting = self.store.count()
        self.assertFalse(self.pool.step())
        self.assertNoResult(counting)
        patched.restore()
        self.run_(self.store.use("shared"))
        self.assertEqual(self.run_(counting), 0)

    def test_own_threads(self) -> None:
        """It has threads of its own, which end with it."""
        made: list[Any] = []

        def pool(*arguments: object) -> ManualThreadPool:
            made.append(arguments)
            return self.pool

        self.patch(_shared, "FixedThreadPool", pool)
        self.nowhere()
        self.assertEqual(made, [(READERS, "asciid-reader")])

    def test_no_threads(self) -> None:
        """It does not start without its threads."""
        self.patch(Thread, "start", no_thread)
        store = self.nowhere()
        error = self.failureResultOf(store.start(), OSError).value
        self.assertIn("can't start new thread", str(error))
