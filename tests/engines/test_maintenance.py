"""Storages that are verified, backed up and compacted."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from asciid.engines import _findings
from asciid.engines.lmdb import _batch, _verification
from asciid.engines.lmdb._copying import _WORK
from asciid.engines.lmdb._records import ImageRecord, chunk_key
from asciid.engines.lmdb.maintenance import (
    MAX_DAMAGED,
    DamagedError,
    NoStorageError,
    StorageDamagedError,
    StorageFile,
    StorageLock,
    Verification,
    backup,
    compact,
    leave_in,
    purge_quarantine,
    quarantine_in,
    restore_quarantine,
)
from asciid.errors import ImageNotFoundError, StorageUnreadableError
from asciid.model import ImageState
from asciid.store.engine import StorageInUseError
from tests.engines._damage import delete, flip, number_of, put, records, unseal
from tests.store._support import DrivenStore, spec_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.engines.lmdb.maintenance import Copied, Damaged
    from asciid.model import ImageSpec

CAT = b"/\\_/\\\n( o.o )\n >^<\n"
DOG = b"/^ ^\\\n/ 0 0 \\\nV\\ Y /V\n"
LARGE = bytes(range(251)) * 12_000


def no_pace(_: int) -> None:
    """Wait for nothing."""


def run_script(script: str, path: Path) -> subprocess.CompletedProcess[bytes]:
    """Run Python in another process."""
    root = Path(__file__).parent.parent.parent
    return subprocess.run(
        [sys.executable, "-c", script, path],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        timeout=60,
        check=False,
    )


class MaintenanceTestCase(SynchronousTestCase):
    """
    A storage with some images.

    LMDB opens a file once in a process, so the store that made them is stopped;
    tests.integration.test_admin does so beside running daemons.
    """

    def setUp(self) -> None:
        """Upload three images, begin a fourth."""
        self.driven = DrivenStore(self.mktemp(), map_size=64 * 1024)
        self.path = self.driven.path.absolute()
        self.driven.start()
        self.addCleanup(self.stop)
        self.cat = self.driven.upload(CAT)
        self.dog = self.driven.upload(DOG, 1_000)
        self.large = self.driven.upload(LARGE, 100_000)
        self.pending = spec_of(b"pending", 4)
        self.driven.run(self.driven.store.register(self.pending))
        self.driven.run(self.driven.store.add_chunk(self.pending.sha256, 0, b"pend"))
        self.stop()

    def stop(self) -> None:
        """Stop the store, if it is not."""
        if not self.driven.writer_pool.stopped:
            self.driven.stop()

    def start(self, path: Path | None = None) -> None:
        """Open a directory with a new store."""
        self.driven = DrivenStore(str(path or self.path))
        self.driven.start()

    def assert_everything(self, path: Path | None = None) -> None:
        """Check that every image is there, and the upload that was begun."""
        self.start(path)
        for spec, data in ((self.cat, CAT), (self.dog, DOG), (self.large, LARGE)):
            self.assertEqual(self.driven.download(spec.sha256), data)
        status = self.driven.run(self.driven.store.status(self.pending.sha256))
        self.assertIs(status.state, ImageState.PENDING)
        self.assertEqual(status.missing, ((1, 1),))
        self.stop()

    def verify(self, *, quarantine: bool = True) -> list[Damaged]:
        """Verify the storage."""
        with StorageFile(self.path) as storage:
            put_aside = quarantine_in(storage) if quarantine else leave_in(storage)
            self.verification = Verification(storage, no_pace, put_aside)
            return list(self.verification.run())

    def back_up(self, destination: Path) -> tuple[int, int]:
        """Make a backup of the storage."""
        with StorageFile(self.path) as storage:
            return backup(storage.copy, destination, no_pace)

    def compact(self, pace: Callable[[int], None] = no_pace) -> Copied:
        """Compact the storage."""
        with StorageFile(self.path) as storage:
            return compact(storage, pace)


class VerificationTests(MaintenanceTestCase):
    """Findings and effects of a verification."""

    def test_all_is_well(self) -> None:
        """Where nothing is damaged nothing is changed, whatever the pages are."""
        for page in (1, 2, 3, 100):
            self.patch(_verification, "PAGE", page)
            self.assertEqual(self.verify(), [])
            self.assertEqual(self.verification.images, 3)
            size = len(CAT) + len(DOG) + len(LARGE)
            self.assertEqual(self.verification.size, size)
        self.assert_everything()

    def test_paced(self) -> None:
        """Progress is reported in steps of about a megabyte."""
        sizes: list[int] = []
        with StorageFile(self.path) as storage:
            list(Verification(storage, sizes.append, leave_in(storage)).run())
        self.assertEqual(sum(sizes), len(CAT) + len(DOG) + len(LARGE))
        self.assertLess(max(sizes), _verification.STEP + 100_000)

    def assert_quarantined(self, spec: ImageSpec, data: bytes, *words: str) -> None:
        """Check that exactly `spec` is found damaged, and can be uploaded again."""
        (found,) = self.verify(quarantine=False)
        (damaged,) = self.verify()
        self.assertEqual(damaged, found)
        self.assertEqual(damaged.sha256, spec.sha256)
        for word in words:
            self.assertIn(word, damaged.reason)
        self.assertEqual(self.verify(), [])
        self.start()
        store = self.driven.store
        opening = store.open(spec.sha256)
        self.assertRaises(ImageNotFoundError, self.driven.run, opening)
        self.assertRaises(
            ImageNotFoundError, self.driven.run, store.status(spec.sha256)
        )
        self.driven.upload(data, spec.chunk_size)
        self.stop()
        self.assert_everything()
        self.assertEqual(self.verify(), [])

    def test_flipped_bit(self) -> None:
        """A bit that the disk has changed is found."""
        flip(self.path, DOG)
        self.assert_quarantined(self.dog, DOG, "its bytes have the hash")

    def test_flipped_bit_in_a_large_image(self) -> None:
        """A bit is found in whatever part it is."""
        key = chunk_key(number_of(self.path, self.large.sha256), 25)
        chunk = bytearray(records(self.path, "chunks")[key])
        chunk[7] ^= 1
        put(self.path, "chunks", key, bytes(chunk))
        self.assert_quarantined(self.large, LARGE, "its bytes have the hash")

    def test_chunk_that_has_gone(self) -> None:
        """An image that misses a chunk is found, whichever it is."""
        chunks = -(-len(LARGE) // 100_000)
        for chunk_id, left in ((0, 0), (5, 500_000), (chunks - 1, 3_000_000)):
            number = number_of(self.path, self.large.sha256)
            delete(self.path, "chunks", chunk_key(number, chunk_id))
            words = f"{left} of its {len(LARGE)} bytes"
            self.assert_quarantined(self.large, LARGE, words)

    def test_reading_behind_a_chunk_that_has_gone(self) -> None:
        """What follows a missing chunk is not taken for it."""
        number = number_of(self.path, self.large.sha256)
        delete(self.path, "chunks", chunk_key(number, 5))
        self.start()
        reader = self.driven.run(self.driven.store.open(self.large.sha256))
        ranges = [
            (start, start + 100_000) for start in range(400_000, 800_000, 100_000)
        ]
        reading = reader.read_ranges(ranges)
        self.assertRaises(StorageUnreadableError, self.driven.run, reading)
        before = self.driven.run(reader.read_ranges(ranges[:1]))
        self.assertEqual(before, [LARGE[400_000:500_000]])

    def test_seal_that_has_gone(self) -> None:
        """An image that is in no state is found."""
        unseal(self.path, self.cat.sha256)
        self.assert_quarantined(self.cat, CAT, "neither complete nor pending")

    def test_record_that_cannot_be_read(self) -> None:
        """A record that is cut short is found."""
        put(self.path, "images", bytes.fromhex(self.cat.sha256), b"\x01short")
        self.assert_quarantined(self.cat, CAT, "its record cannot be read")

    def verify_while_large_goes(self, *, quarantine: bool) -> list[Damaged]:
        """Verify the storage, removing the large image while it is read."""
        removed: list[int] = []

        def remove(size: int) -> None:
            if size > len(DOG) and not removed:
                removed.append(size)
                storage.execute(
                    lambda batch: batch.discard(batch.find(self.large.sha256))
                )

        with StorageFile(self.path) as storage:
            put_aside = quarantine_in(storage) if quarantine else leave_in(storage)
            damaged = list(Verification(storage, remove, put_aside).run())
        self.assertEqual(len(removed), 1)
        return damaged

    def test_image_that_goes_meanwhile(self) -> None:
        """An image that is removed while it is read is not damaged."""
        self.assertEqual(self.verify_while_large_goes(quarantine=True), [])
        self.start()
        self.driven.upload(LARGE, 100_000)
        self.stop()
        self.assertEqual(self.verify_while_large_goes(quarantine=False), [])

    def test_chunks_that_cannot_be_read(self) -> None:
        """Records that LMDB cannot read are damaged, and the rest is verified."""

        def failing(*_: object) -> int:
            raise lmdb.CorruptedError("mdb_cursor_get")

        self.patch(_verification._Reading, "step", failing)
        damaged = self.verify(quarantine=False)
        self.assertEqual(len(damaged), 3)
        self.assertIn("it cannot be read", damaged[0].reason)

    def test_operation_that_is_refused(self) -> None:
        """The exception of an operation is raised to the caller."""
        unknown = spec_of(b"unknown").sha256
        with StorageFile(self.path) as storage:
            self.assertRaises(
                ImageNotFoundError,
                storage.execute,
                lambda batch: batch.find(unknown),
            )

    def test_map_that_is_full(self) -> None:
        """A transaction that needs more room than the map has gets it."""
        with StorageFile(self.path) as storage:
            more = bytes(storage._environment._env.info()["map_size"])
            storage.execute(
                lambda batch: batch.put(batch.databases.chunks, b"\xff" * 12, more)
            )

    def test_purge(self) -> None:
        """A purge leaves no records, and intact images are kept."""
        flip(self.path, DOG)
        delete(
            self.path, "chunks", chunk_key(number_of(self.path, self.large.sha256), 3)
        )
        put(self.path, "images", bytes.fromhex(self.cat.sha256), b"\x01short")
        before = len(records(self.path, "chunks"))
        self.patch(_batch, "DISCARD_STEP", 20)
        self.assertEqual(len(self.verify()), 3)
        self.assertEqual(len(records(self.path, "quarantined")), 3)
        self.assertEqual(len(records(self.path, "chunks")), before)
        with StorageFile(self.path) as storage:
            self.assertEqual(purge_quarantine(storage), 3)
            self.assertEqual(purge_quarantine(storage), 0)
        self.assertEqual(records(self.path, "quarantined"), {})
        # The chunks of the truncated record cannot be determined any more.
        cat = self.cat.chunks + 1
        self.assertEqual(len(records(self.path, "chunks")), cat + 1)

    def test_purge_harms_nothing_else(self) -> None:
        """A damaged record that names another image's chunks does not delete them."""
        dog = number_of(self.path, self.dog.sha256)
        record = ImageRecord(dog, len(CAT), 4, 4).pack()
        put(self.path, "images", bytes.fromhex(self.cat.sha256), record)
        (damaged,) = self.verify()
        self.assertEqual(damaged.sha256, self.cat.sha256)
        with StorageFile(self.path) as storage:
            self.assertEqual(purge_quarantine(storage), 1)
        self.start()
        self.assertEqual(self.driven.download(self.dog.sha256), DOG)

    def damage_all(self) -> None:
        """Damage all three images."""
        for spec in (self.cat, self.dog, self.large):
            number = number_of(self.path, spec.sha256)
            delete(self.path, "chunks", chunk_key(number, 0))

    def test_damaged_as_a_whole(self) -> None:
        """Past a share of the images, no more are put aside."""
        self.damage_all()
        with StorageFile(self.path) as storage:
            verification = Verification(
                storage, no_pace, quarantine_in(storage), max_damaged=MAX_DAMAGED
            )
            # So few are no indication.
            self.assertEqual(len(list(verification.run())), 3)
            self.assertEqual(restore_quarantine(storage), 3)
            self.patch(_findings, "FEW", 1)
            found: list[Damaged] = []
            error = self.assertRaises(
                StorageDamagedError, lambda: found.extend(verification.run())
            )
        self.assertIn("with 1 images in quarantine, restore a backup", str(error))
        self.assertEqual(len(records(self.path, "quarantined")), 1)
        # A mere listing continues.
        self.assertEqual(len(self.verify(quarantine=False)), 2)

    def test_restore(self) -> None:
        """Quarantined images are restored, unless they were uploaded meanwhile."""
        before = records(self.path, "images")
        self.damage_all()
        put(self.path, "images", bytes.fromhex(self.cat.sha256), b"\x01short")
        self.assertEqual(len(self.verify()), 3)
        self.start()
        self.driven.upload(DOG, 1_000)
        self.stop()
        with StorageFile(self.path) as storage:
            self.assertEqual(restore_quarantine(storage), 1)
            self.assertEqual(restore_quarantine(storage), 0)
        large = bytes.fromhex(self.large.sha256)
        self.assertEqual(records(self.path, "images")[large], before[large])
        self.assertEqual(len(records(self.path, "quarantined")), 2)
        (damaged,) = self.verify()
        self.assertEqual(damaged.sha256, self.large.sha256)

    def test_no_storage(self) -> None:
        """A directory without a storage is refused and left alone."""
        path = Path(self.mktemp())
        path.mkdir()
        self.assertRaises(NoStorageError, StorageFile(path).__enter__)
        self.assertEqual(list(path.iterdir()), [])


class BackupTests(MaintenanceTestCase):
    """Backups."""

    def test_backup(self) -> None:
        """A backup is a storage that has everything."""
        destination = self.path.with_name("backup")
        images, size = self.back_up(destination)
        self.assertEqual(images, 3)
        self.assertEqual([path.name for path in destination.iterdir()], ["data.mdb"])
        self.assertEqual(destination.stat().st_mode & 0o777, 0o750)
        file = destination / "data.mdb"
        self.assertEqual(file.stat().st_mode & 0o777, 0o640)
        self.assertEqual(file.stat().st_size, size)
        self.assert_everything(destination)

    def assert_refused(self, destination: Path, error: type[Exception]) -> str:
        """Check that a backup is refused and leaves nothing."""
        before = sorted(self.path.parent.iterdir())
        refusal = self.assertRaises(error, self.back_up, destination)
        self.assertEqual(sorted(self.path.parent.iterdir()), before)
        return str(refusal)

    def test_destination_that_exists(self) -> None:
        """Nothing is written over, not even an empty directory or a dead link."""
        destination = self.path.with_name("backup")
        destination.mkdir()
        self.assert_refused(destination, FileExistsError)
        destination.rmdir()
        destination.symlink_to("nowhere")
        self.assert_refused(destination, FileExistsError)
        destination.unlink()

    def test_no_such_parent(self) -> None:
        """The directory that the backup is put into must be there."""
        self.assert_refused(self.path.with_name("none") / "backup", FileNotFoundError)

    def test_damaged(self) -> None:
        """A storage with a damaged image makes no backup that counts as complete."""
        flip(self.path, DOG)
        message = self.assert_refused(self.path.with_name("backup"), DamagedError)
        self.assertIn("1 image", message)
        self.assertIn("asciid verify", message)


class CompactTests(MaintenanceTestCase):
    """Compaction."""

    def make_room(self) -> None:
        """Have most of the file unused."""
        self.start()
        spec = self.driven.upload(os.urandom(8_000_000), 1_000_000)
        self.driven.run(
            self.driven.engine._run(
                lambda batch: batch.discard(batch.find(spec.sha256))
            )
        )
        self.stop()

    def test_compact(self) -> None:
        """The file shrinks, and everything is there."""
        self.make_room()
        file = self.path / "data.mdb"
        file.chmod(0o600)
        copied = self.compact()
        self.assertGreater(copied.before, 8_000_000)
        self.assertLess(copied.after, 4_000_000)
        self.assertEqual(file.stat().st_size, copied.after)
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        self.assertEqual(
            {path.name for path in self.path.iterdir()},
            {"data.mdb", "lock.mdb", "asciid.lock"},
        )
        self.assert_everything()
        self.start()
        last = self.driven.store.add_chunk(self.pending.sha256, 1, b"ing")
        self.assertTrue(self.driven.run(last))
        self.assertEqual(self.driven.download(self.pending.sha256), b"pending")

    def test_owner_that_stays(self) -> None:
        """Where owners cannot be changed, as in `contrib/asciid.service`, it works."""

        def refused(*_: object) -> None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        self.make_room()
        self.patch(os, "chown", refused)
        copied = self.compact()
        self.assertLess(copied.after, copied.before)
        self.assert_everything()

    def test_owner_that_differs(self) -> None:
        """The file keeps its owner, whichever user compacts it."""
        if os.geteuid():
            message = "only root can give files away"
            raise SkipTest(message)
        file = self.path / "data.mdb"
        os.chown(file, 4321, 1234)
        self.compact()
        owner = file.stat()
        self.assertEqual((owner.st_uid, owner.st_gid), (4321, 1234))

    def test_refused_while_in_use(self) -> None:
        """While a store has the storage open it is not compacted."""
        self.start()
        refusal = self.assertRaises(StorageInUseError, self.compact)
        self.assertIn("in use by asciid, pid ", str(refusal))
        self.stop()
        self.assert_everything()

    def test_store_is_refused_meanwhile(self) -> None:
        """While a storage is compacted no store can open it."""
        started: list[str] = []

        def start_store(_: int) -> None:
            lock = StorageLock(self.path, timeout=0.0)
            driven = DrivenStore(str(self.path), lock=lock)
            failure = self.failureResultOf(driven.store.start(), OSError)
            started.append(str(failure.value))

        self.compact(start_store)
        self.assertIn("in use by asciid, pid ", started[0])
        self.assert_everything()

    def test_damaged(self) -> None:
        """A storage with a damaged image is left as it is."""
        flip(self.path, DOG)
        before = (self.path / "data.mdb").read_bytes()
        self.assertRaises(DamagedError, self.compact)
        self.assertEqual((self.path / "data.mdb").read_bytes(), before)
        self.assertFalse((self.path / _WORK).exists())

    def test_leftovers(self) -> None:
        """Files of a killed compaction do no harm."""
        self.make_room()
        work = self.path / _WORK
        work.mkdir()
        (work / "data.mdb").write_bytes(b"half")
        self.compact()
        self.assert_everything()

    def test_killed(self) -> None:
        """Killed just before the copy takes the file's place, it has harmed nothing."""
        self.make_room()
        script = (
            "import os, signal, sys\n"
            "from pathlib import Path\n"
            "from asciid.engines.lmdb.maintenance import StorageFile, compact\n"
            "Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
            "with StorageFile(Path(sys.argv[1])) as storage:\n"
            "    compact(storage, lambda _: None)\n"
        )
        done = run_script(script, self.path)
        self.assertEqual(done.returncode, -9)
        self.assert_everything()
        self.assertLess(self.compact().after, 4_000_000)
        self.assert_everything()
