"""A disk that is full, and then is not."""

from __future__ import annotations

import time

import lmdb

from tests.faults._case import FaultTestCase
from tests.faults._client import Connection
from tests.faults._disk import TinyDisk
from tests.faults._load import Load, Upload
from tests.faults._needs import need_commands, need_root

_MIB = 2**20


def _large() -> Upload:
    return Upload.sized(200_000, whole=True)


class DiskFullTests(FaultTestCase):
    """The storage is on a tmpfs of 1 MiB."""

    def setUp(self) -> None:
        """Mount it."""
        super().setUp()
        need_root()
        need_commands("mount", "umount")
        self.disk = TinyDisk(self.directory / "disk")
        self.addCleanup(self.disk.unmount)
        self.disk.mount(_MIB)
        self.storage = self.disk.directory / "storage"
        self.options = ("--storage", str(self.storage), "--reserve", "0")

    def test_full_and_grown(self) -> None:
        """
        On a full disk writes are answered 507 and reads go on; once it has grown,
        service resumes by itself, nothing is lost and no file is left over.
        """
        # With it, what could not be deleted is looked for every three seconds.
        daemon = self.daemon(*self.options, "--upload-ttl", "60")
        first = Upload.sized(700)
        before = self.upload(daemon, [first])
        with Load(daemon.port) as load:
            self.assertTrue(load.run_until_refused(507))
            load.run_for(0.5)
            self.assertEqual(load.record.wrong, [])
            for _ in range(50):
                self.assertEqual(self.get(daemon, first).body, first.content)
            self.assertTrue(load.record.refused[507])
            free = self.disk.free
            self.assertEqual(set(load.record.refused), {507})
            self.disk.resize(64 * _MIB)
            # Each client has been refused, and must succeed now.
            self.assertTrue(load.progresses(100))
        # LMDB calls a write that was cut short an IO error: one that the full disk
        # cut short just before may find room when the error is examined.
        self.assertLessEqual(set(load.record.refused), {507, 503})
        self.assertEqual(load.record.violations(daemon), [])
        self.assert_kept(daemon, before)
        broken = self.entries(b"staged")
        # Entries that could not be deleted on a full disk are deleted now.
        deadline = time.monotonic() + 30
        while self.entries(b"staged") or self.entries(b"discarded"):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        self.assert_calm(daemon)
        daemon.stop()
        self.assertEqual(self.leftovers(), [])
        self.report(
            f"full with {free} bytes free, {load.record.refused[507]} refused, "
            f"{len(load.record.acknowledged)} acknowledged, 0 lost, "
            f"{broken} broken PUTs had to be deleted later"
        )

    def test_reserve(self) -> None:
        """However fast uploads arrive, they leave the reserve; then they get 507."""
        self._reserve()

    def test_reserve_with_workers(self) -> None:
        """The same where several processes serve and another one writes."""
        self._reserve("--workers", "2")

    def _reserve(self, *options: str) -> None:
        self.disk.resize(32 * _MIB)
        daemon = self.daemon(*self.options[:2], "--reserve", "24M", *options)
        with Load(daemon.port, 8, _large) as load:
            self.assertTrue(load.run_until_refused(507))
            left = self.disk.free
        self.assertEqual(set(load.record.refused), {507})
        # Not to the byte: pages that LMDB copies are additional.
        self.assertGreater(left, 23 * _MIB)
        self.wait_until_failing(daemon, ["room"])
        self.disk.resize(64 * _MIB)
        later = self.upload(daemon, [_large() for _ in range(20)])
        self.assertEqual((len(later.acknowledged), later.refused), (20, {}))
        for record in (load.record, later):
            self.assert_kept(daemon, record)
        self.wait_until_ready(daemon)
        daemon.stop()
        self.report(f"{left - 24 * _MIB:+,} bytes free besides the reserve")

    def test_room_of_what_expired(self) -> None:
        """
        Full down to the reserve, the service resumes by itself once images expired:
        their room, which is inside the storage file, is used again.
        """
        self.disk.resize(64 * _MIB)
        options = ("--reserve", "32M", "--image-ttl", "4s")
        daemon = self.daemon(*self.options[:2], *options)
        with Load(daemon.port, 8, _large) as load:
            self.assertTrue(load.run_until_refused(507))
        expired = ("asciid_images_expired_total", "")
        deadline = time.monotonic() + 30
        while self.metrics(daemon)[expired] < len(load.record.acknowledged):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        # Nothing of that went back to the file system.
        self.assertLess(self.disk.free, 33 * _MIB)
        later = self.upload(daemon, [_large() for _ in range(50)])
        self.assertEqual((len(later.acknowledged), later.wrong), (50, []))
        left = self.disk.free
        self.assertGreater(left, 31 * _MIB)
        self.assert_calm(daemon)
        daemon.stop()
        self.report(
            f"{len(load.record.acknowledged)} expired, 50 uploaded in their place, "
            f"{left - 32 * _MIB:+,} bytes free besides the reserve"
        )

    def test_killed_while_full(self) -> None:
        """Killed and started again on a full disk, the daemon serves what it has."""
        daemon = self.daemon(*self.options)
        with Load(daemon.port) as load:
            self.assertTrue(load.run_until_refused(507))
            load.run_for(0.3)
            daemon.kill()
        daemon.start()
        with Connection(daemon.port) as connection:
            new = Upload.sized(900_000, whole=True)
            answer = connection.request("PUT", new.target, new.content)
            self.assertEqual((answer.status, answer.is_problem), (507, True))
            for upload in load.record.uploads:
                if upload.complete:
                    answer = connection.request("GET", upload.target)
                    self.assertEqual(answer.body, upload.content)
        self.disk.resize(16 * _MIB)
        self.assert_kept(daemon, load.record)
        daemon.stop()

    def test_new_while_full(self) -> None:
        """
        A storage without LMDB's lock file, as a restored one is, on a full disk: the
        daemon logs in one line that there is no space, and is not ended by a signal.
        """
        daemon = self.daemon(*self.options)
        image = Upload.sized(700)
        record = self.upload(daemon, [image])
        daemon.stop()
        (self.storage / "lock.mdb").unlink()
        filler = self.disk.fill()
        with self.assertRaisesRegex(RuntimeError, "ended with 1:") as refused:
            daemon.start()
        self.assertIn("No space left", str(refused.exception))
        self.assertNotIn("Traceback", daemon.log)
        filler.unlink()
        daemon.start()
        self.assert_kept(daemon, record)
        daemon.stop()

    def leftovers(self) -> list[str]:
        """Return the files that no storage has."""
        known = {"data.mdb", "lock.mdb", "asciid.lock"}
        return [path.name for path in self.storage.iterdir() if path.name not in known]

    def entries(self, name: bytes) -> int:
        """Return how much is in one of the storage's databases."""
        with lmdb.open(str(self.storage), max_dbs=8, readonly=True) as environment:
            database = environment.open_db(name, create=False)
            with environment.begin() as transaction:
                return int(transaction.stat(database)["entries"])
