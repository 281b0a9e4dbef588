"""Engines that cannot start, and files that LMDB cannot use."""

from __future__ import annotations

import threading
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import lmdb
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.lmdb._environment import Environment
from asciid.engines.lmdb._storage_file import StorageFile, StorageUnusableError
from asciid.engines.lmdb.sharing import LMDBReader, prepare_storage
from asciid.engines.memory import MemoryEngine
from asciid.engines.remote.worker_side import RemoteEngine
from asciid.testing import ManualReactor
from tests.store._support import DrivenStore, no_thread
from tests.workers._support import DrivenWorkers

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred


def fail_in_lmdb(*_: object, **__: object) -> None:
    """Fail as LMDB does."""
    message = "mdb_env_open: Input/output error"
    raise lmdb.DiskError(message)


class ThreadTests(SynchronousTestCase):
    """Engines whose threads cannot be created; see also `tests.engines.test_lmdb`."""

    def start_without(self, name: str, engine: Any) -> str:  # noqa: ANN401 - any engine
        """
        Start an engine, whose threads with `name` in theirs cannot be created.

        Return the message of the error.
        """
        start = Thread.start

        def start_others(thread: Thread) -> None:
            if name in thread.name:
                no_thread()
            start(thread)

        patched = self.patch(Thread, "start", start_others)
        starting: Deferred[None] = engine.start(print, print)
        patched.restore()
        return str(self.failureResultOf(starting, OSError).value)

    def test_memory(self) -> None:
        """Memory without all of its threads is not used, and has none then."""
        for name in ("asciid-memory", "asciid-hash"):
            engine = MemoryEngine(reactor=ManualReactor())
            error = self.start_without(name, engine)
            self.assertIn("can't start new thread", error)
            threads = [thread.name for thread in threading.enumerate()]
            self.assertEqual([name for name in threads if "asciid-" in name], [])

    def test_remote(self) -> None:
        """A worker that cannot read does not connect to the process that writes."""
        driven = DrivenWorkers(self.mktemp(), 1)
        reader = LMDBReader(
            driven.writer.path, reactor=driven.reactor, file_generation=lambda: 0
        )
        engine = RemoteEngine(driven.clients[0], reader, driven.generations)
        error = self.start_without("asciid-reader", engine)
        self.assertIn("can't start new thread", error)
        self.assertEqual(driven.reactor.wires, [])


class UnusableFileTests(SynchronousTestCase):
    """Those outside of LMDB's package get errors that are not LMDB's."""

    def test_prepared(self) -> None:
        """A storage that cannot be opened is an error of the system."""
        self.patch(Environment, "open", fail_in_lmdb)
        path = Path(self.mktemp())
        path.mkdir()
        error = self.assertRaises(OSError, prepare_storage, path, sync=False)
        self.assertIn("cannot open the storage: mdb_env_open", str(error))

    def test_engine(self) -> None:
        """So it is for the process that writes."""
        self.patch(Environment, "open", fail_in_lmdb)
        driven = DrivenStore(self.mktemp())
        error = self.failureResultOf(driven.store.start(), OSError).value
        self.assertIn("cannot open the storage: mdb_env_open", str(error))

    def test_command(self) -> None:
        """A command gets one error for all of LMDB's, and the lock is released."""
        driven = DrivenStore(self.mktemp())
        driven.start()
        driven.stop()

        def read() -> None:
            with StorageFile(driven.path) as storage:
                storage.read(fail_in_lmdb)

        error = self.assertRaises(StorageUnusableError, read)
        self.assertIn("the storage cannot be used: mdb_env_open", str(error))
        patched = self.patch(Environment, "open", fail_in_lmdb)
        self.assertRaises(StorageUnusableError, StorageFile(driven.path).__enter__)
        patched.restore()
        with StorageFile(driven.path):
            pass

    def test_compaction(self) -> None:
        """So it is for the command that has the owner compact it."""
        driven = DrivenStore(self.mktemp())
        driven.start()
        self.patch(Environment, "copy", fail_in_lmdb)
        compacting = driven.engine.compact()
        self.assertRaises(StorageUnusableError, driven.run, compacting)
        driven.upload(b"dog")
        driven.stop()
