"""The LMDB engine beyond the contract: disk, map, failures."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from hashlib import sha256
from itertools import count
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import lmdb
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.lmdb import _environment, _lmdb_engine
from asciid.engines.lmdb._answers import Answers
from asciid.engines.lmdb._batch import (
    DISCARD_STEP,
    REMEMBERED_UPLOADS,
    VERIFY_IN_TRANSACTION,
    Batch,
)
from asciid.engines.lmdb._environment import DATA_FILE, Environment
from asciid.engines.lmdb._residency import MAX_GROWTH, Residency
from asciid.engines.lmdb._staging import abandon
from asciid.engines.lmdb._uploads import REMEMBERED_BYTES
from asciid.engines.lmdb.owning import LMDBEngine
from asciid.errors import (
    CommitFailedError,
    HashMismatchError,
    ImageExistsError,
    ImageNotFoundError,
    StorageFailedError,
    StorageFullError,
    StorageUnreadableError,
    StoreVersionError,
)
from asciid.model import About, ImageSpec
from asciid.store import STAGED_FOR
from asciid.store._store import _OVERHEAD, HOT_IMAGE
from asciid.store.operations import Register
from asciid.store.queries import FindComplete, IsComplete
from asciid.store.rules import PIECE
from asciid.testing import ManualReactor
from tests.engines._damage import flip
from tests.store._support import (
    DrivenStore,
    chunk_of,
    lmdb_error,
    no_thread,
    registered,
    spec_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asciid.store import IImageWriter

CAT = b"/\\_/\\\n( o.o )\n >^<\n"
LARGE = bytes(range(256)) * (VERIFY_IN_TRANSACTION // 256 + 1)


class ReportingFailure:
    """An environment whose commits succeed, and are reported to have failed."""

    def __init__(self, env: Any) -> None:  # noqa: ANN401 - an LMDB environment
        self.env = env

    @contextmanager
    def begin(self, **options: Any) -> Iterator[Any]:  # noqa: ANN401 - as LMDB has it
        """Commit, then fail."""
        with self.env.begin(**options) as transaction:
            yield transaction
        message = "mdb_txn_commit: Input/output error"
        raise lmdb.Error(message)

    def __getattr__(self, name: str) -> object:
        """Be the environment in everything else."""
        return getattr(self.env, name)


class Failing:
    """Stands before an environment's transactions and makes some fail."""

    def __init__(
        self,
        env: Any,  # noqa: ANN401 - a C object
        error: Exception,
        *,
        writes: bool = False,
    ) -> None:
        self._env = env
        self._error = error
        self._only_writes = writes

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a C object's
        """Be the environment in everything else."""
        return getattr(self._env, name)

    def begin(self, **options: Any) -> Any:  # noqa: ANN401 - a C object's
        """Fail, unless only writes do."""
        if self._only_writes and "write" not in options:
            return self._env.begin(**options)
        raise self._error


class LMDBTests(SynchronousTestCase):
    """A store over a file on its own."""

    def setUp(self) -> None:
        """Make a store."""
        self.driven = DrivenStore(self.mktemp())
        self.driven.start()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Stop whatever store the test left."""
        self.driven.stop()

    def restart(self, **options: Any) -> None:  # noqa: ANN401 - as DrivenStore
        """Stop the store and open the directory with a new one."""
        self.driven.stop()
        self.driven = DrivenStore(str(self.driven.path), **options)
        self.driven.start()

    def fail_transactions(self, error: Exception) -> None:
        """Make every transaction fail with `error` until the next `open`."""
        environment = self.driven.engine._environment
        environment._open = Failing(environment._open, error)  # type: ignore[assignment]

    def places(self) -> int:
        """Return how many places of readers are taken."""
        env = self.driven.engine._environment._open
        assert env is not None
        return len([line for line in env.readers().splitlines()[1:] if line])

    def test_errors_take_no_place(self) -> None:
        """
        The exception of a failed read takes no reader slot.

        Exceptions may be kept, with their tracebacks, until they are collected.
        """
        kept: list[Exception] = []

        def fail_oddly(*_: object) -> None:
            try:
                int("none")
            except ValueError as error:
                raise ImageNotFoundError("ab" * 32) from error

        def read_oddly(_: str) -> Deferred[None]:
            return self.driven.engine._reads.read(fail_oddly)

        self.patch(Answers, "_BY_TYPE", {**Answers._BY_TYPE, IsComplete: fail_oddly})
        for number, read in enumerate(
            (
                self.driven.store.open,
                self.driven.store.status,
                read_oddly,
                self.driven.store.create,
            )
        ):
            for _ in range(10):
                error = self.assertRaises(
                    ImageNotFoundError, self.driven.run, read(f"{number:064x}")
                )
                kept.append(error)
        self.assertLessEqual(self.places(), 1)
        self.assertEqual(len(kept), 40)

    def test_restart(self) -> None:
        """Images, uploads and upload numbers outlive the process."""
        done = self.driven.upload(CAT)
        pending = spec_of(LARGE, 100_000)
        self.driven.run(self.driven.store.register(pending))
        chunk = chunk_of(LARGE, pending, 1)
        self.driven.run(self.driven.store.add_chunk(pending.sha256, 1, chunk))
        self.restart()
        self.assertEqual(self.driven.download(done.sha256), CAT)
        other = self.driven.upload(b"another image")
        status = self.driven.run(self.driven.store.status(pending.sha256))
        self.assertEqual(status.missing, ((0, 0), (2, 2)))
        for chunk_id in (2, 0):
            chunk = chunk_of(LARGE, pending, chunk_id)
            self.driven.run(
                self.driven.store.add_chunk(pending.sha256, chunk_id, chunk)
            )
        self.assertEqual(self.driven.download(pending.sha256), LARGE)
        self.assertEqual(self.driven.download(other.sha256), b"another image")

    def test_synced(self) -> None:
        """A store that syncs works the same."""
        self.restart(sync=True)
        spec = self.driven.upload(CAT)
        self.restart(sync=True)
        self.assertEqual(self.driven.download(spec.sha256), CAT)

    def test_creates_its_directory(self) -> None:
        """The directory is made, its parents too, and is not for everybody."""
        path = Path(self.mktemp()) / "a" / "b"
        driven = DrivenStore(str(path), sync=True)
        driven.start()
        driven.stop()
        self.assertEqual(path.stat().st_mode & 0o007, 0)
        self.assertEqual((path / "data.mdb").stat().st_mode & 0o007, 0)

    def test_sync_before_the_first_commit(self) -> None:
        """Nothing is built on what could not be synced since it was opened."""
        self.restart(sync=True)
        spec = self.driven.upload(LARGE, 100_000)
        failures = [OSError(errno.EIO, "Input/output error")] * 2

        def sync(_: Path) -> None:
            if failures:
                raise failures.pop()

        self.patch(_environment, "sync_directory", sync)
        self.fail_transactions(lmdb.Error("mdb_txn_commit: Input/output error"))
        for _ in range(3):
            awaited = self.driven.store.register(spec_of(CAT))
            self.assertRaises(StorageFailedError, self.driven.run, awaited)
            self.assertEqual(self.driven.download(spec.sha256), LARGE)
        self.assertEqual(failures, [])
        self.assertEqual(self.driven.upload(CAT).size, len(CAT))

    def test_map_grows(self) -> None:
        """A full map grows, and the write succeeds."""
        self.restart(map_size=64 * 1024)
        data = os.urandom(3_000_000)
        spec = self.driven.upload(data, 100_000)
        self.assertEqual(self.driven.download(spec.sha256), data)
        self.restart(map_size=64 * 1024)
        self.assertEqual(self.driven.download(spec.sha256), data)

    def test_another_process_grows_the_map(self) -> None:
        """A map that another process has grown is followed, by writes and reads."""
        self.restart(map_size=64 * 1024)
        script = (
            "import sys, lmdb\n"
            "env = lmdb.open(sys.argv[1], map_size=2**26, max_dbs=4)\n"
            "chunks = env.open_db(b'chunks')\n"
            "with env.begin(write=True, db=chunks) as transaction:\n"
            "    transaction.put(b'\\xff' * 12, bytes(int(sys.argv[2])))\n"
        )
        for size in (500_000, 3_000_000):
            subprocess.run(
                [sys.executable, "-c", script, self.driven.path, str(size)],
                check=True,
                timeout=60,
            )
            if size == 500_000:
                self.assertEqual(self.driven.run(registered(self.driven.store)), 0)
        spec = self.driven.upload(CAT)
        self.assertEqual(self.driven.download(spec.sha256), CAT)

    def test_hot_images_are_not_read_again(self) -> None:
        """A small image is in memory once it is complete, or was read."""
        spec = self.driven.upload(CAT)
        self.assertEqual(
            self.successResultOf(self.driven.store.open(spec.sha256)).content, CAT
        )
        self.restart()
        awaited = self.driven.store.open(spec.sha256)
        self.assertNoResult(awaited)
        self.driven.run(awaited)
        self.successResultOf(self.driven.store.open(spec.sha256))

    def test_unreadable_images(self) -> None:
        """Where no image can be read the store is not healthy, until one can."""
        specs = [self.driven.upload(b"%d" % number, 100) for number in range(21)]
        self.restart()
        damaged = specs[:-1]
        works = Answers._BY_TYPE[FindComplete]

        def find_complete(answers: Any, snapshot: Any, query: FindComplete) -> Any:  # noqa: ANN401 - as the original
            if query.sha256 != specs[-1].sha256:
                message = "mdb_get"
                raise lmdb.CorruptedError(message)
            return works(answers, snapshot, query)

        self.patch(
            Answers, "_BY_TYPE", {**Answers._BY_TYPE, FindComplete: find_complete}
        )
        for spec in (*damaged[:19], *damaged[:5]):
            self.assertTrue(self.driven.store.health().reads)
            opening = self.driven.store.open(spec.sha256)
            self.assertRaises(StorageFailedError, self.driven.run, opening)
        self.assertTrue(self.driven.store.health().reads)
        opening = self.driven.store.open(damaged[19].sha256)
        self.assertRaises(StorageFailedError, self.driven.run, opening)
        self.assertFalse(self.driven.store.health().reads)
        self.assertEqual(self.driven.store.stats().events.unreadable, 25)
        self.driven.run(self.driven.store.open(specs[-1].sha256))
        self.assertTrue(self.driven.store.health().reads)

    def test_damaged_images_are_not_kept(self) -> None:
        """A small image is not served from memory with bytes that the disk made up."""
        spec = self.driven.upload(CAT, len(CAT))
        self.restart()
        flip(self.driven.path, CAT)
        for _ in range(2):
            awaited = self.driven.store.open(spec.sha256)
            self.assertNoResult(awaited)
            self.assertRaises(StorageFailedError, self.driven.run, awaited)
        # The same again mends it.
        flip(self.driven.path, bytes([*CAT[:9], CAT[9] ^ 0x10, *CAT[10:]]))
        self.assertEqual(self.driven.download(spec.sha256), CAT)

    def test_cold_images_are_read_in_ranges(self) -> None:
        """An image that is too large for the cache has no bytes in memory."""
        spec = self.driven.upload(LARGE, 100_000)
        reader = self.driven.run(self.driven.store.open(spec.sha256))
        self.assertIsNone(reader.content)

    def test_commit_that_found_no_room(self) -> None:
        """A full disk, or quota, fails the batch; the next one is tried afresh."""
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            self.fail_transactions(lmdb_error(number))
            first = self.driven.store.register(spec_of(CAT))
            second = self.driven.store.register(spec_of(b"dog"))
            self.assertRaises(StorageFullError, self.driven.run, first)
            self.assertRaises(StorageFullError, self.driven.run, second)
        spec = self.driven.upload(CAT)
        self.assertEqual(self.driven.download(spec.sha256), CAT)

    def test_commit_that_was_cut_short(self) -> None:
        """An IO error on a file system without room is its being full."""
        data = self.driven.path / DATA_FILE
        self.patch(_lmdb_engine, "lacks_room", lambda path: path == data)
        self.fail_transactions(lmdb.Error("mdb_txn_commit: Input/output error"))
        awaited = self.driven.store.register(spec_of(CAT))
        self.assertRaises(StorageFullError, self.driven.run, awaited)

    def test_commit_that_failed(self) -> None:
        """An IO error fails the batch; the next one is tried afresh."""
        spec = self.driven.upload(CAT)
        self.fail_transactions(lmdb.Error("mdb_txn_commit: Input/output error"))
        awaited = self.driven.store.register(spec_of(b"dog"))
        self.assertRaises(StorageFailedError, self.driven.run, awaited)
        self.assertEqual(self.driven.download(spec.sha256), CAT)
        self.assertEqual(self.driven.upload(b"dog").size, 3)

    def test_commit_in_doubt(self) -> None:
        """The error of a commit does not deny that the batch may be stored."""
        spec, environment = spec_of(CAT), self.driven.engine._environment
        environment._open = ReportingFailure(environment._open)  # type: ignore[assignment]
        error = self.assertRaises(
            CommitFailedError, self.driven.run, self.driven.store.register(spec)
        )
        self.assertIn("unknown", str(error))
        again = self.driven.store.register(spec)
        self.assertRaises(ImageExistsError, self.driven.run, again)

    def test_error_before_the_commit(self) -> None:
        """The error of a batch that was not committed says that nothing is stored."""

        def flush(_: Batch) -> None:
            message = "mdb_put: Input/output error"
            raise lmdb.Error(message)

        failing = self.patch(Batch, "flush", flush)
        awaited = self.driven.store.register(spec_of(CAT))
        error = self.assertRaises(StorageFailedError, self.driven.run, awaited)
        self.assertEqual(str(error), "The storage failed; nothing was stored.")
        failing.restore()
        self.driven.run(self.driven.store.register(spec_of(CAT)))

    def test_no_room_to_open_it_again(self) -> None:
        """A quota that the repair meets is a full storage, too."""
        self.fail_transactions(lmdb_error(errno.EIO))

        def reopen(_: Environment) -> None:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

        self.patch(Environment, "reopen", reopen)
        awaited = self.driven.store.register(spec_of(CAT))
        self.assertRaises(StorageFullError, self.driven.run, awaited)

    def test_storage_that_cannot_be_opened_again(self) -> None:
        """While the storage cannot be opened everything fails, and then recovers."""
        spec = self.driven.upload(LARGE, 100_000)
        self.fail_transactions(lmdb.Error("mdb_txn_commit: Input/output error"))
        away = self.driven.path.with_suffix(".away")
        self.driven.path.rename(away)
        self.driven.path.write_bytes(b"in the way")
        for _ in range(2):
            awaited = self.driven.store.register(spec_of(CAT))
            self.assertRaises(StorageFailedError, self.driven.run, awaited)
        opening = self.driven.store.open(spec.sha256)
        error = self.assertRaises(StorageUnreadableError, self.driven.run, opening)
        self.assertNotIn("stored", str(error))
        self.driven.path.unlink()
        away.rename(self.driven.path)
        # Reads reopen it, too.
        self.assertEqual(self.driven.run(registered(self.driven.store)), 1)
        self.assertEqual(self.driven.upload(CAT).size, len(CAT))
        self.assertEqual(self.driven.download(spec.sha256), LARGE)

    def test_damaged_record(self) -> None:
        """A damaged record beside an image cannot be read; the image can."""
        spec = self.driven.upload(CAT)
        changing = self.driven.store.set_about(spec.sha256, About(title="cat"))
        self.driven.run(changing)

        def damage(batch: Batch) -> None:
            with batch.transaction.cursor(batch.databases.about) as cursor:
                cursor.first()
                key, value = bytes(cursor.key()), bytes(cursor.value())
            # First text that is not UTF-8, then a record that is too short.
            damaged = value.replace(b"cat", b"c\xfft")
            batch.put(
                batch.databases.about, key, b"\xff" if damaged == value else damaged
            )

        for _ in range(2):
            self.driven.run(self.driven.engine._run(damage))
            reading = self.driven.store.about(spec.sha256)
            self.assertRaises(StorageUnreadableError, self.driven.run, reading)
        self.assertEqual(self.driven.download(spec.sha256), CAT)

    def test_operation_that_breaks(self) -> None:
        """An operation that raises an unexpected error fails alone."""

        def broken(batch: Batch) -> None:
            batch.register(Register(spec_of(b"never")))
            raise ZeroDivisionError

        first = self.driven.store.register(spec_of(CAT))
        second = self.driven.engine._run(broken)
        third = self.driven.store.register(spec_of(b"dog"))
        self.driven.run(first)
        self.assertRaises(ZeroDivisionError, self.driven.run, second)
        self.driven.run(third)
        self.assertEqual(self.driven.run(registered(self.driven.store)), 2)

    def test_discarded_chunks_give_their_room_back(self) -> None:
        """The chunks of a large discarded upload are deleted bit by bit."""
        self.discard_many_chunks()
        self.driven.settle()
        self.assertEqual(self.entries(), 0)

    def test_discarding_goes_on_after_a_restart(self) -> None:
        """Deletions pending at a stop are done after the start."""
        self.discard_many_chunks()
        self.restart()
        self.assertEqual(self.entries(), 0)

    def test_discarding_that_fails(self) -> None:
        """A failure to delete discarded chunks harms nothing else."""
        self.discard_many_chunks()
        self.fail_transactions(lmdb.Error("Input/output error"))
        self.driven.settle()
        self.driven.upload(CAT)
        self.restart()
        self.assertEqual(self.entries(), len(range(0, len(CAT), 4)) + 1)

    def test_abandoned_images_give_their_room_back(self) -> None:
        """Unused staged uploads are deleted: abandoned, wrong, or too late."""
        self.driven.upload(CAT)
        before = self.entries()

        async def receive() -> None:
            store = self.driven.store
            first = await store.create(spec_of(LARGE).sha256)
            await first.write(LARGE)
            await first.abandon()
            second = await store.create(spec_of(CAT[1:]).sha256)
            await second.write(LARGE)
            await second.finish()

        receiving = Deferred.fromCoroutine(receive())
        self.assertRaises(HashMismatchError, self.driven.run, receiving)
        self.driven.settle()
        self.assertEqual(self.entries(), before)

    def test_adopted_image_that_is_abandoned(self) -> None:
        """To abandon an image whose adoption was not noticed does no harm."""

        async def receive() -> int:
            writer = await self.driven.store.create(spec_of(LARGE).sha256)
            await writer.write(LARGE)
            number: int = writer._number  # type: ignore[attr-defined]
            await writer.finish()
            return number

        number = self.driven.run(Deferred.fromCoroutine(receive()))
        self.driven.run(self.driven.engine._run(lambda batch: abandon(batch, number)))
        self.restart()
        self.assertEqual(self.driven.download(spec_of(LARGE).sha256), LARGE)

    def test_kept(self) -> None:
        """What is kept with an image is found again until that is removed."""
        store = self.driven.store
        spec = self.driven.upload(b"cat", chunk_size=3)
        reader = store.cached(spec.sha256)
        assert reader is not None
        reader.kept = b"kept"
        self.assertIs(self.driven.run(store.open(spec.sha256)), reader)
        again = store.cached(spec.sha256)
        self.assertEqual(again and again.kept, b"kept")
        self.driven.run(store.delete(spec.sha256))
        self.driven.upload(b"cat", chunk_size=3)
        again = store.cached(spec.sha256)
        self.assertIsNone(again and again.kept)

    def test_unknown_removals(self) -> None:
        """Nothing is served from memory while a removal may be unknown."""
        spec = self.driven.upload(LARGE[:100], chunk_size=100)
        self.assertIsNotNone(self.driven.store.cached(spec.sha256))
        self.patch(LMDBEngine, "removals_known", property(lambda _: False))
        self.assertIsNone(self.driven.store.cached(spec.sha256))
        self.assertNoResult(self.driven.store.open(spec.sha256))
        self.driven.settle()

    def test_many_small_images_are_not_all_kept(self) -> None:
        """The overhead of an image counts, too."""
        self.restart(cache_size=10 * _OVERHEAD)
        specs = [self.driven.upload(b"%d" % number) for number in range(20)]
        opening = [self.driven.store.open(spec.sha256) for spec in specs]
        kept = [opened.called for opened in opening]
        for opened in opening:
            self.driven.run(opened)
        self.assertEqual(kept, [False] * 11 + [True] * 9)

    def test_images_of_many_pages_are_counted_with_one_more(self) -> None:
        """An image of 60 kB counts as one page more than its bytes and the rest."""
        self.restart(cache_size=1_000_000)
        spec = self.driven.upload(b"x" * 60_000, chunk_size=60_000)
        self.driven.download(spec.sha256)
        used = self.driven.store.stats().cache_bytes
        self.assertEqual(used, 60_000 + 4096 + _OVERHEAD)

    def test_largest_image_that_is_kept(self) -> None:
        """An image of 64 KiB is kept in memory, a larger one is not."""
        for size, kept in ((HOT_IMAGE, True), (HOT_IMAGE + 1, False)):
            spec = self.driven.upload(b"x" * size, chunk_size=size)
            self.driven.download(spec.sha256)
            opened = self.driven.store.open(spec.sha256)
            self.assertIs(opened.called, kept)
            self.driven.run(opened)

    def staged(self) -> int:
        """Return the number of staged uploads in the file."""
        environment = self.driven.engine._environment
        return environment.read(
            lambda snapshot: snapshot.transaction.stat(snapshot.databases.staged)
        )["entries"]

    def test_client_leaves_at_the_first_write(self) -> None:
        """An image whose client leaves before it has a number leaves nothing."""
        store = self.driven.store
        writer = self.driven.run(store.create(spec_of(LARGE).sha256))
        writing = writer.write(LARGE)
        writing.cancel()
        self.failureResultOf(writing, CancelledError)
        self.driven.run(writer.abandon())
        self.driven.settle()
        self.assertEqual((self.entries(), self.staged()), (0, 0))

    def test_last_pieces_that_cannot_be_stored(self) -> None:
        """An image that fails at its very end leaves nothing."""
        writer = self.driven.run(self.driven.store.create(spec_of(LARGE).sha256))
        self.driven.run(writer.write(LARGE))
        finishing = writer.finish()
        self.fail_transactions(lmdb.Error("Input/output error"))
        self.assertRaises(StorageFailedError, self.driven.run, finishing)
        self.driven.settle()
        self.assertEqual((self.entries(), self.staged()), (0, 0))

    def test_image_cut_off_by_a_kill(self) -> None:
        """Staged uploads of a killed process are deleted at a later start."""

        async def receive() -> None:
            writer = await self.driven.store.create(spec_of(LARGE).sha256)
            await writer.write(LARGE)

        self.driven.run(Deferred.fromCoroutine(receive()))
        self.restart()
        self.driven.run(self.driven.store.expire())
        self.assertEqual(self.entries(), len(LARGE) // PIECE)
        self.driven.pass_time(STAGED_FOR + 1)
        self.driven.run(self.driven.store.expire())
        self.assertEqual(self.entries(), 0)

    def test_image_that_comes_very_slowly(self) -> None:
        """An image taken for abandoned cannot go on, and harms nothing."""

        async def begin() -> IImageWriter:
            writer = await self.driven.store.create(spec_of(LARGE).sha256)
            await writer.write(LARGE[:-1])
            return writer

        first, second = (
            self.driven.run(Deferred.fromCoroutine(begin())) for _ in range(2)
        )
        self.driven.pass_time(STAGED_FOR / 2)
        self.driven.run(second.write(LARGE[-1:]))
        self.driven.pass_time(STAGED_FOR / 2 + 1)
        self.driven.run(self.driven.store.expire())
        self.assertRaises(StorageFailedError, self.driven.run, first.write(LARGE))
        self.assertTrue(self.driven.run(second.finish()))
        self.assertEqual(self.driven.download(spec_of(LARGE).sha256), LARGE)

    def discard_many_chunks(self) -> None:
        """Upload many chunks with a wrong hash."""
        data = bytes(3 * DISCARD_STEP)
        spec = ImageSpec(spec_of(CAT).sha256, len(data), 1)
        store = self.driven.store
        self.driven.run(store.register(spec))
        *others, last = [
            store.add_chunk(spec.sha256, i, b"\0") for i in range(spec.chunks)
        ]
        for awaited in others:
            self.driven.run(awaited)
        self.assertRaises(HashMismatchError, self.driven.run, last)

    def entries(self) -> int:
        """Return how many records the chunks database has."""
        return self.driven.run(
            self.driven.engine._reads.read(
                lambda snapshot: snapshot.transaction.stat(snapshot.databases.chunks)[
                    "entries"
                ]
            )
        )

    def test_image_that_goes_while_it_is_hashed(self) -> None:
        """An upload discarded while its last chunk is checked is not found."""
        spec = self.begin_large()
        last = chunk_of(LARGE, spec, 1)
        awaited = self.driven.store.add_chunk(spec.sha256, 1, last)
        self.reach_verification()
        self.driven.engine._run(discard(spec))
        self.assertRaises(ImageNotFoundError, self.driven.run, awaited)

    def test_image_registered_anew_while_it_is_hashed(self) -> None:
        """The last chunk of a discarded upload may be the first of the next."""
        spec = self.begin_large()
        last = chunk_of(LARGE, spec, 1)
        awaited = self.driven.store.add_chunk(spec.sha256, 1, last)
        self.reach_verification()
        self.driven.engine._run(discard(spec))
        self.driven.store.register(spec)
        self.assertFalse(self.driven.run(awaited))
        status = self.driven.run(self.driven.store.status(spec.sha256))
        self.assertEqual(status.missing, ((0, 0), (2, 2)))

    def begin_large(self) -> ImageSpec:
        """Register the large image and upload all chunks but number 1."""
        spec = spec_of(LARGE, 100_000)
        self.driven.run(self.driven.store.register(spec))
        for chunk_id in (0, 2):
            chunk = chunk_of(LARGE, spec, chunk_id)
            self.driven.run(self.driven.store.add_chunk(spec.sha256, chunk_id, chunk))
        return spec

    def reach_verification(self) -> None:
        """Turn the writer until the hashing waits for its thread."""
        while not self.driven.read_pool.work:
            self.driven.reactor.advance(0)
            self.driven.writer_pool.step()

    def test_stop_waits_for_verification(self) -> None:
        """An image whose last chunk was taken is finished before the stop."""
        spec = self.begin_large()
        self.driven.store.add_chunk(spec.sha256, 1, chunk_of(LARGE, spec, 1))
        self.restart()
        self.assertEqual(self.driven.download(spec.sha256), LARGE)

    def test_remembers_a_bounded_number_of_uploads(self) -> None:
        """The writer's memory does not grow with the uploads."""
        store = self.driven.store
        specs = [
            ImageSpec(sha256(b"%d" % i).hexdigest(), 2, 1)
            for i in range(REMEMBERED_UPLOADS + 1)
        ]
        registered = [store.register(spec) for spec in specs]
        for awaited in registered:
            self.driven.run(awaited)
        self.assertEqual(len(self.driven.engine._environment._memory.uploads), 0)
        self.driven.run(store.add_chunk(specs[5].sha256, 0, b"x"))
        self.assertEqual(self.driven.run(store.status(specs[5].sha256)).received, 1)

    def test_keeps_a_bounded_number_of_bytes(self) -> None:
        """Chunks of small uploads are kept until a bound, and given back."""
        memory = self.driven.engine._environment._memory
        size = 60_000
        images = [
            b"%d" % i + bytes(size - len(b"%d" % i))
            for i in range(REMEMBERED_BYTES // size + 1)
        ]
        store = self.driven.store
        for data in images:
            self.driven.run(store.register(spec_of(data, size // 2)))
        self.assertEqual(memory.bytes_kept, (len(images) - 1) * size)
        for data in (images[0], images[-1]):
            spec = spec_of(data, size // 2)
            for chunk_id in range(2):
                chunk = chunk_of(data, spec, chunk_id)
                self.driven.run(store.add_chunk(spec.sha256, chunk_id, chunk))
            self.assertEqual(self.driven.download(spec.sha256), data)
        self.assertEqual(memory.bytes_kept, (len(images) - 2) * size)

    def test_reader_of_an_image_that_has_gone(self) -> None:
        """A reader whose image was removed fails with the right error."""
        spec = self.driven.upload(LARGE, 100_000)
        reader = self.driven.run(self.driven.store.open(spec.sha256))
        self.driven.run(self.driven.engine._run(discard(spec)))
        self.assertRaises(ImageNotFoundError, self.driven.run, reader.read(0, 5))

    def test_commits_give_pages_back(self) -> None:
        """Writing, too, gives back the pages that it has read."""
        released: list[Path] = []
        measured = count(step=MAX_GROWTH + 1)

        def find(path: Path) -> list[tuple[int, int]]:
            released.append(path)
            return []

        self.patch(
            _environment,
            "Residency",
            lambda path, _: Residency(
                path,
                measure=lambda: next(measured),
                find=find,
                release=lambda _: None,
            ),
        )
        driven = DrivenStore(self.mktemp())
        driven.start()
        driven.run(driven.store.register(spec_of(b"first")))
        before = len(released)
        driven.run(driven.store.register(spec_of(b"second")))
        self.assertEqual(released[before:], [driven.path / "data.mdb"])
        driven.stop()

    def test_works_on_a_real_reactors_terms(self) -> None:
        """Without pools of a test, the store makes its own, and ends them."""
        reactor = ManualReactor()
        engine = LMDBEngine(Path(self.mktemp()), reactor=reactor)
        self.assertEqual(
            [engine._writer._pool.name, engine._pool._pool.name],
            ["asciid-writer", "asciid-reader"],
        )


class ThreadTests(SynchronousTestCase):
    """The threads of a store."""

    def test_no_thread(self) -> None:
        """Without all of them a store does not start, and leaves nothing open."""
        path = Path(self.mktemp())
        start = Thread.start

        def start_writer(thread: Thread) -> None:
            if "reader" in thread.name:
                no_thread()
            start(thread)

        for started in (no_thread, start_writer):
            limited = self.patch(Thread, "start", started)
            engine = LMDBEngine(path, reactor=ManualReactor())
            starting = engine.start(print, print)
            error = self.failureResultOf(starting, OSError).value
            self.assertIn("can't start new thread", str(error))
            self.assertFalse(engine._environment.is_open)
            limited.restore()
        names = [thread.name for thread in threading.enumerate()]
        for pool in ("asciid-writer", "asciid-reader"):
            self.assertEqual([name for name in names if pool in name], [])


class OpeningTests(SynchronousTestCase):
    """Directories that are no storage of this release."""

    def refused(self, path: Path, error: type[Exception]) -> str:
        """Start a store there, expect `error`, return its message."""
        driven = DrivenStore(str(path))
        return str(self.failureResultOf(driven.store.start(), error).value)

    def write(self, path: Path, key: bytes, value: bytes) -> None:
        """Write one record into the unnamed database."""
        with lmdb.open(str(path), max_dbs=4) as env, env.begin(write=True) as txn:
            txn.put(key, value)

    def test_unknown_version(self) -> None:
        """Another format version is refused, with advice."""
        path = Path(self.mktemp())
        self.write(path, b"asciid-format", b"7")
        message = self.refused(path, StoreVersionError)
        self.assertIn("storage format 7", message)
        self.assertIn("another storage directory", message)

    def test_foreign_environment(self) -> None:
        """An LMDB file of another program is refused and left alone."""
        path = Path(self.mktemp())
        self.write(path, b"theirs", b"1")
        self.refused(path, StoreVersionError)
        with lmdb.open(str(path)) as env, env.begin() as txn:
            self.assertEqual(txn.stat()["entries"], 1)

    def test_no_lmdb_file(self) -> None:
        """A file that is not LMDB's is refused."""
        path = Path(self.mktemp())
        path.mkdir()
        (path / "data.mdb").write_bytes(b"not a database" * 1_000)
        self.assertIn("does not hold", self.refused(path, StoreVersionError))

    def test_path_that_is_a_file(self) -> None:
        """A file in place of the directory is an OSError."""
        path = Path(self.mktemp())
        path.write_bytes(b"")
        self.refused(path, OSError)

    def test_lock_file_that_is_a_directory(self) -> None:
        """What LMDB cannot open is an OSError."""
        path = Path(self.mktemp())
        (path / "lock.mdb").mkdir(parents=True)
        self.assertIn("lock.mdb", self.refused(path, OSError))

    def test_lock_file_has_its_room(self) -> None:
        """
        The file that LMDB writes to through a map is on the disk as a whole: else
        the next reader could end the process by SIGBUS when the disk is full.
        """
        path = Path(self.mktemp())
        driven = DrivenStore(str(path))
        driven.start()
        self.addCleanup(driven.stop)
        found = (path / "lock.mdb").stat()
        self.assertGreater(found.st_size, 512 * 64)
        self.assertGreaterEqual(found.st_blocks * 512, found.st_size)


def discard(spec: ImageSpec) -> Callable[[Batch], None]:
    """Return an operation that throws an image away."""
    return lambda batch: batch.discard(batch.find(spec.sha256))
