"""Storages of format 1 are converted at the start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import lmdb
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.lmdb import _format_conversion
from asciid.engines.lmdb._copying import backup, compact
from asciid.engines.lmdb._environment import Environment
from asciid.engines.lmdb._format_conversion import Conversion
from asciid.engines.lmdb._lookup import find, find_seal
from asciid.engines.lmdb._records import FORMAT_KEY, SEAL_ID, chunk_key
from asciid.engines.lmdb._storage_file import StorageFile
from asciid.engines.lmdb._verification import (
    Verification,
    leave_in,
    quarantine_in,
    restore_quarantine,
)
from asciid.engines.lmdb.sharing import LMDBReader, prepare_storage
from asciid.errors import ImageGoneError, StoreClosedError, StoreVersionError
from asciid.model import About
from asciid.testing import ManualReactor, ManualThreadPool
from tests.engines._formats import (
    BY_COMPLETION,
    GONE,
    PENDING,
    QUARANTINED,
    write_format_1,
)
from tests.store._support import DrivenStore, lmdb_error, spec_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.engines.lmdb._batch import Batch
    from asciid.engines.lmdb._databases import Snapshot

LISTED = [spec_of(data).sha256 for data in reversed(BY_COMPLETION)]
"""The hashes of the listing, the newest first."""


class ConversionTests(SynchronousTestCase):
    """An engine that is started on a storage of format 1."""

    def setUp(self) -> None:
        """Write a storage of format 1."""
        self.path = self.mktemp()
        write_format_1(self.path)

    def start(self, **options: Any) -> DrivenStore:  # noqa: ANN401 - as DrivenStore
        """Return a store that has converted it."""
        driven = DrivenStore(self.path, **options)
        driven.pass_time(100)
        driven.start()
        self.addCleanup(driven.stop)
        return driven

    def format(self) -> bytes:
        """Return the format of the storage."""
        with lmdb.open(self.path, max_dbs=16) as env, env.begin() as transaction:
            return transaction.get(FORMAT_KEY, b"")

    def listed(self, driven: DrivenStore) -> list[str]:
        """Return the hashes in the listing."""
        images = driven.run(driven.store.list_images(None, 99))
        return [image.spec.sha256 for image in images]

    def test_listed(self) -> None:
        """Complete images are listed in the order of completion, all is there still."""
        driven = self.start()
        self.assertEqual(self.listed(driven), LISTED)
        for data in BY_COMPLETION:
            self.assertEqual(driven.download(spec_of(data).sha256), data)
        usage = driven.run(driven.store.usage())
        self.assertEqual((usage.images, usage.pending, usage.listed), (5, 1, 5))
        self.assertEqual((usage.quarantined, usage.blocked), (1, 0))
        pending = spec_of(PENDING)
        self.assertEqual(driven.run(driven.store.about(pending.sha256)).about, About())
        gone = driven.store.open(spec_of(GONE).sha256)
        self.assertRaises(ImageGoneError, driven.run, gone)
        driven.run(driven.store.add_chunk(pending.sha256, 1, b"ing"))
        self.assertEqual(self.listed(driven), [pending.sha256, *LISTED])

    def test_not_listed(self) -> None:
        """If images are not listed by default, each says so, whatever happens to it."""
        driven = self.start(converts_listed=False)
        self.assertEqual(self.listed(driven), [])
        pending, quarantined = spec_of(PENDING), spec_of(QUARANTINED)
        driven.run(driven.store.add_chunk(pending.sha256, 1, b"ing"))
        self.assertEqual(driven.run(driven.engine.restore_quarantine()), 1)
        self.assertEqual(self.listed(driven), [])
        for sha256 in (*LISTED, pending.sha256, quarantined.sha256):
            self.assertFalse(driven.run(driven.store.about(sha256)).about.listed)
            driven.run(driven.store.set_about(sha256, About()))
        self.assertEqual(len(self.listed(driven)), 7)
        bat = [quarantined.sha256]
        self.assertEqual(
            [one for one in self.listed(driven) if one not in bat],
            [pending.sha256, *LISTED],
        )

    def test_damaged_in_quarantine(self) -> None:
        """A record in quarantine that cannot be read is kept."""
        with lmdb.open(self.path, max_dbs=16) as env:
            quarantined = env.open_db(b"quarantined")
            with env.begin(write=True) as transaction:
                transaction.put(b"k" * 40, b"x", db=quarantined)
        driven = self.start(converts_listed=False)
        self.assertEqual(driven.run(driven.store.usage()).quarantined, 2)
        self.assertEqual(driven.run(driven.engine.restore_quarantine()), 1)

    def test_converted_once(self) -> None:
        """The next start converts nothing."""
        driven = DrivenStore(self.path)
        driven.start()
        driven.run(driven.store.set_about(LISTED[0], About(listed=False)))
        driven.stop()
        self.assertEqual(self.format(), b"2")
        self.patch(Conversion, "run", None)
        self.assertEqual(self.listed(self.start()), LISTED[1:])

    def test_in_steps(self) -> None:
        """It is the same in many transactions, each of few records."""
        for name in ("PAGE", "STEP", "SORTED"):
            self.patch(_format_conversion, name, 2)
        self.assertEqual(self.listed(self.start(map_size=2**12)), LISTED)

    def test_map_that_is_too_small(self) -> None:
        """The map grows as it does for other writes, and what fails is raised."""
        execute, read = Environment.execute, Environment.read
        errors: list[Exception] = [
            lmdb.MapFullError("full"),
            lmdb.MapResizedError("grown"),
        ]

        def failing(*arguments: Any) -> Any:  # noqa: ANN401 - as execute
            if errors:
                raise errors.pop()
            return execute(*arguments)

        resized = [lmdb.MapResizedError("grown")]

        def outgrown(*arguments: Any) -> Any:  # noqa: ANN401 - as read
            if resized:
                raise resized.pop()
            return read(*arguments)

        self.patch(Environment, "execute", failing)
        self.patch(Environment, "read", outgrown)
        self.assertEqual(self.listed(self.start()), LISTED)
        self.assertEqual(errors + resized, [])

    def test_bug(self) -> None:
        """An unexpected error ends the start, and leaves format 1."""

        def mark(_: object) -> None:
            raise ZeroDivisionError

        self.patch(_format_conversion, "_mark", mark)
        driven = DrivenStore(self.path)
        starting = driven.store.start()
        driven.settle()
        self.failureResultOf(starting, ZeroDivisionError)
        self.assertEqual(self.format(), b"1")

    def test_interrupted(self) -> None:
        """Wherever it is interrupted, the storage has format 1, or all of format 2."""
        for name in ("PAGE", "STEP", "SORTED"):
            self.patch(_format_conversion, name, 2)
        for options in ({}, {"converts_listed": False}):
            for commits in range(12):
                self.path = self.mktemp()
                write_format_1(self.path)
                interrupted = self.interrupt(commits, options)
                self.assertEqual(self.format(), b"1" if interrupted else b"2")
                if interrupted:
                    self.change_as_format_1()
                driven = self.start(**options)
                expected = LISTED[interrupted:] if not options else []
                self.assertEqual(self.listed(driven), expected)
                usage = driven.run(driven.store.usage())
                self.assertEqual(usage.listed, len(expected))
                if not interrupted:
                    break
            self.assertGreater(commits, 3)

    def interrupt(self, commits: int, options: Any) -> bool:  # noqa: ANN401 - as DrivenStore
        """Fail after so many commits; return whether it came to that."""
        driven = DrivenStore(self.path, **options)
        execute, left = Environment.execute, [commits]

        def limited(*arguments: Any) -> Any:  # noqa: ANN401 - as execute
            if not left[0]:
                raise lmdb_error(5)
            left[0] -= 1
            return execute(*arguments)

        patch = self.patch(Environment, "execute", limited)
        starting = driven.store.start()
        driven.settle()
        patch.restore()
        if starting.result is None:
            driven.stop()
            return False
        self.assertIn("cannot convert", str(self.failureResultOf(starting, OSError)))
        return True

    def change_as_format_1(self) -> None:
        """Do what an earlier release may do meanwhile: delete the newest image."""
        with lmdb.open(self.path, max_dbs=16) as env:
            images, chunks = env.open_db(b"images"), env.open_db(b"chunks")
            digest = bytes.fromhex(LISTED[0])
            with env.begin(write=True) as transaction:
                number = transaction.get(digest, b"", db=images)[1:9]
                transaction.delete(digest, db=images)
                for chunk in (0, 1, SEAL_ID):
                    key = chunk_key(int.from_bytes(number, "big"), chunk)
                    self.assertTrue(transaction.delete(key, db=chunks))

    def test_stopped(self) -> None:
        """A stop aborts it, and the storage is free, of format 1, afterwards."""
        driven = DrivenStore(self.path)
        starting = driven.store.start()
        stopping = driven.store.stop()
        driven.settle()
        self.successResultOf(stopping)
        self.failureResultOf(starting, StoreClosedError)
        self.assertTrue(driven.writer_pool.stopped)
        self.assertEqual(self.format(), b"1")
        self.assertEqual(self.listed(self.start()), LISTED)

    def test_stopped_at_its_end(self) -> None:
        """A stop that finds it done has the same effect."""
        driven = DrivenStore(self.path)
        starting = driven.store.start()
        driven.reactor.advance(0)
        driven.writer_pool.step()
        stopping = driven.store.stop()
        driven.settle()
        self.successResultOf(stopping)
        self.failureResultOf(starting, StoreClosedError)
        self.assertEqual(self.format(), b"2")

    def test_in_the_writers_thread(self) -> None:
        """The reactor's thread does not wait for it."""
        driven = DrivenStore(self.path)
        starting = driven.store.start()
        for _ in range(9):
            driven.reactor.advance(0)
        self.assertNoResult(starting)
        driven.settle()
        self.successResultOf(starting)
        driven.stop()

    def damage(self, change: Callable[[Any, Any], object]) -> None:
        """Change the file; `change` is called with a transaction and the images."""
        with lmdb.open(self.path, max_dbs=16) as env:
            images = env.open_db(b"images")
            with env.begin(write=True) as transaction:
                change(transaction, images)

    def test_damaged(self) -> None:
        """An image of which something cannot be read does not stop it."""
        key = bytes.fromhex(LISTED[1])
        self.damage(lambda transaction, images: transaction.put(key, b"x", db=images))
        bad = {0}

        def broken(where: Any, number: int) -> Any:  # noqa: ANN401 - as find_seal
            if number in bad:
                raise lmdb_error(5)
            return find_seal(where, number)

        self.patch(_format_conversion, "find_seal", broken)
        driven = self.start()
        cat = spec_of(BY_COMPLETION[0]).sha256
        expected = [one for one in LISTED if one not in (LISTED[1], cat)]
        self.assertEqual(self.listed(driven), expected)

    def test_readers(self) -> None:
        """A parent measures it as it is; a worker opens it once it is converted."""
        usage = prepare_storage(Path(self.path), sync=False)
        self.assertEqual((usage.images, usage.pending), (5, 1))
        self.assertEqual(self.format(), b"1")
        reader = LMDBReader(
            Path(self.path),
            reactor=ManualReactor(),
            file_generation=lambda: 0,
            read_pool=ManualThreadPool(),
        )
        self.assertRaises(StoreVersionError, reader._environment.open)


class StorageFileTests(SynchronousTestCase):
    """Commands on a storage of format 1 without a daemon: they leave the format."""

    def setUp(self) -> None:
        """Write a storage of format 1."""
        self.path = Path(self.mktemp())
        write_format_1(self.path)

    def assert_listed(self, path: Path) -> None:
        """Check that a daemon converts the storage, and lists its images."""
        with StorageFile(path, accepts_old=True) as storage:
            self.assertTrue(storage.is_old)
        driven = DrivenStore(str(path))
        driven.start()
        images = driven.run(driven.store.list_images(None, 99))
        driven.stop()
        self.assertEqual([image.spec.sha256 for image in images], LISTED)
        with StorageFile(path) as storage:
            self.assertFalse(storage.is_old)

    def test_refused(self) -> None:
        """What needs the new format says in one line what to do."""
        storage = StorageFile(self.path)
        error = self.assertRaises(StoreVersionError, storage.__enter__)
        self.assertIn("start the service, which converts it", str(error))
        self.assertNotIn("\n", str(error))

    def test_verify(self) -> None:
        """Its images are verified, and damaged ones put aside, and back."""
        with StorageFile(self.path, accepts_old=True) as storage:
            verification = Verification(storage, no_pace, leave_in(storage))
            self.assertEqual(list(verification.run()), [])
            self.assertEqual(verification.images, 5)

            def damage(batch: Batch) -> None:
                number = batch.find(LISTED[0]).number
                batch.put(batch.databases.chunks, chunk_key(number, 0), b"LATE")

            storage.execute(damage)
            verification = Verification(storage, no_pace, quarantine_in(storage))
            (damaged,) = verification.run()
            self.assertEqual(damaged.sha256, LISTED[0])
            values = storage.read(quarantined_values)
            self.assertEqual({len(value) for value in values}, {33})
            self.assertEqual(restore_quarantine(storage), 2)
            restored = spec_of(QUARANTINED).sha256
            verification = Verification(storage, no_pace, leave_in(storage))
            self.assertEqual(len(list(verification.run())), 1)
            self.assertTrue(storage.read(lambda snapshot: find(snapshot, restored)))

    def test_backup(self) -> None:
        """A backup has format 1, too, and is converted once it is restored."""
        copy = Path(self.mktemp())
        with StorageFile(self.path, accepts_old=True) as storage:
            images, _ = backup(storage.copy, copy, no_pace)
        self.assertEqual(images, 5)
        self.assert_listed(copy)
        self.assert_listed(self.path)

    def test_compact(self) -> None:
        """It is compacted as it is."""
        with StorageFile(self.path, accepts_old=True) as storage:
            self.assertEqual(compact(storage, no_pace).images, 5)
        self.assert_listed(self.path)


def no_pace(_: int) -> None:
    """Do not wait."""


def quarantined_values(snapshot: Snapshot) -> list[bytes]:
    """Return the values in quarantine."""
    with snapshot.transaction.cursor(snapshot.databases.quarantined) as cursor:
        return [bytes(value) for _, value in cursor]
