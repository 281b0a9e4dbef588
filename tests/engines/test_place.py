"""The storage directory, or a file in it, is moved, removed or replaced meanwhile."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines._engine_probe import PROBE_EVERY
from asciid.engines._fault_log import SETTLED
from asciid.engines.lmdb._lock import StorageLock, StorageMovedError
from asciid.engines.lmdb.owning import LMDBEngine
from asciid.engines.lmdb.sharing import LMDBReader
from asciid.errors import StorageFailedError
from asciid.testing import ManualReactor, ManualThreadPool, run
from tests.store._support import DrivenStore, spec_of

if TYPE_CHECKING:
    from collections.abc import Callable

CAT = b"/\\_/\\\n( o.o )\n >^<\n"


class PlaceTests(SynchronousTestCase):
    """A store on a disk."""

    def setUp(self) -> None:
        """Start it, with an image."""
        self.driven = DrivenStore(self.mktemp())
        self.driven.start()
        self.path = self.driven.path
        self.data = self.path / "data.mdb"
        self.away = self.path.with_suffix(".away")
        self.spec = self.driven.upload(CAT)

    def is_ready(self) -> bool:
        """Return whether the store can write, after a probe."""
        self.driven.pass_time(PROBE_EVERY)
        self.driven.store.health()
        self.driven.settle()
        return self.driven.store.health().writes

    def assert_noticed(
        self, words: str, move: Callable[[], object], move_back: Callable[[], object]
    ) -> None:
        """Check that nothing is acknowledged between the two moves, and then again."""
        with capturedLogs() as events:
            move()
            for image in (b"one", b"two"):
                registering = self.driven.store.register(spec_of(image))
                self.assertRaises(StorageFailedError, self.driven.run, registering)
            self.assertFalse(self.is_ready())
            # Open images can still be read.
            self.assertEqual(self.driven.download(self.spec.sha256), CAT)
        (line,) = [str(formatEvent(event)) for event in events]
        self.assertIn("writing to the storage fails: ", line)
        self.assertIn(words, line)
        move_back()
        self.assertTrue(self.is_ready())
        self.driven.upload(b"one")
        self.driven.pass_time(SETTLED)
        with capturedLogs() as events:
            self.driven.upload(b"two")
        self.assertEqual(len(events), 1)
        self.driven.stop()
        self.driven = DrivenStore(str(self.path))
        self.driven.start()
        self.addCleanup(self.driven.stop)
        for image in (CAT, b"one", b"two"):
            self.assertEqual(self.driven.download(spec_of(image).sha256), image)

    def test_renamed(self) -> None:
        """The directory is renamed, and renamed back."""
        self.assert_noticed(
            f"{self.path} is no longer the directory that was opened",
            lambda: self.path.rename(self.away),
            lambda: self.away.rename(self.path),
        )
        self.assertFalse(self.away.exists())

    def test_replaced(self) -> None:
        """Another directory is in its place, such as of another file system."""

        def replace() -> None:
            self.path.rename(self.away)
            shutil.copytree(self.away, self.path)

        def put_back() -> None:
            shutil.rmtree(self.path)
            self.away.rename(self.path)

        self.assert_noticed("is no longer the directory", replace, put_back)

    def test_in_the_way(self) -> None:
        """A file is in the place of a directory above it."""
        above = self.path.parent
        away = above.with_suffix(".away")

        def replace() -> None:
            above.rename(away)
            above.touch()

        def put_back() -> None:
            above.unlink()
            away.rename(above)

        self.assert_noticed("is no longer the directory", replace, put_back)

    def test_file_renamed(self) -> None:
        """The file in it is renamed, and renamed back."""
        self.assert_noticed(
            f"{self.data} is no longer the file that was opened",
            lambda: self.data.rename(self.away),
            lambda: self.away.rename(self.data),
        )

    def test_file_replaced(self) -> None:
        """A backup is put in the place of the file under the running store."""

        def replace() -> None:
            self.data.rename(self.away)
            shutil.copy(self.away, self.data)

        self.assert_noticed(
            "is no longer the file", replace, lambda: self.away.rename(self.data)
        )

    def test_removed(self) -> None:
        """A directory that was removed is not made again, and nothing acknowledged."""
        shutil.rmtree(self.path)
        for _ in range(2):
            registering = self.driven.store.register(spec_of(b"one"))
            self.assertRaises(StorageFailedError, self.driven.run, registering)
        self.assertFalse(self.path.exists())
        self.assertFalse(self.is_ready())
        self.driven.stop()

    def test_compaction(self) -> None:
        """A compaction, which replaces the file, is no such thing."""
        self.driven.run(self.driven.engine.compact())
        self.driven.upload(b"one")
        self.assertTrue(self.is_ready())
        self.driven.stop()

    def test_compaction_elsewhere(self) -> None:
        """Nor does a compaction replace the file of another directory."""
        self.path.rename(self.away)
        shutil.copytree(self.away, self.path)
        before = self.data.stat().st_ino
        compacting = self.driven.engine.compact()
        self.assertRaises(StorageMovedError, self.driven.run, compacting)
        self.assertEqual(self.data.stat().st_ino, before)
        self.driven.stop()

    def test_reopened(self) -> None:
        """The reopened file must be the same, with LMDB's lock file."""
        environment = self.driven.engine._environment
        lock = self.path / "lock.mdb"
        for file in (self.data, lock):
            file.rename(self.away)
            self.assertRaises(StorageMovedError, environment.reopen)
            self.assertFalse(file.exists())
            self.away.rename(file)
        lock.rename(self.away)
        lock.touch()
        error = self.assertRaises(StorageMovedError, environment.reopen)
        self.assertIn("lock.mdb was replaced", str(error))
        self.away.rename(lock)
        environment.reopen()
        self.driven.upload(b"one")
        self.driven.stop()


class ProcessTests(SynchronousTestCase):
    """The storage of several processes, which only the first one creates."""

    def setUp(self) -> None:
        """Own an empty directory."""
        self.lock = StorageLock(Path(self.mktemp()))
        self.lock.acquire()
        self.addCleanup(self.lock.release)

    def test_writer(self) -> None:
        """The process that writes creates no file in the place of one removed."""
        lock = StorageLock(self.lock.path, inherited=self.lock.held)
        engine = LMDBEngine(lock.path, reactor=ManualReactor(), lock=lock)
        starting = engine.start(print, print)
        error = self.failureResultOf(starting, StorageMovedError).value
        self.assertIn("data.mdb was removed", str(error))
        self.assertEqual([*lock.path.glob("*.mdb")], [])

    def test_worker(self) -> None:
        """Nor does a worker, which opens no other directory either."""
        lock = self.lock
        reactor, pool = ManualReactor(), ManualThreadPool()
        store = LMDBReader(
            lock.path,
            reactor=reactor,
            file_generation=lambda: 0,
            check_directory=lock.check,
            read_pool=pool,
        )

        def refusal() -> str:
            opening = store.open_file()
            error = self.assertRaises(StorageMovedError, run, opening, reactor, pool)
            return str(error)

        self.assertIn("data.mdb was removed", refusal())
        lock.path.rename(lock.path.with_suffix(".away"))
        lock.path.mkdir()
        self.assertIn("is no longer the directory", refusal())
