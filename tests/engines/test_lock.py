"""The one owner of a storage directory."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.lmdb import _lock
from asciid.engines.lmdb._lock import LOCK_TIMEOUT, StorageLock
from asciid.store.engine import StorageInUseError

LOCK_FILE = "asciid.lock"


class StorageLockTests(SynchronousTestCase):
    """Locks on one directory."""

    def setUp(self) -> None:
        """Name a directory, and make a clock that sleeping moves."""
        self.path = Path(self.mktemp()).absolute()
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        self.now += seconds

    def lock(
        self, *, holder: str = "asciid", inherited: int | None = None
    ) -> StorageLock:
        """Return a lock that waits by the clock of the test."""
        lock = StorageLock(
            self.path,
            sync=False,
            holder=holder,
            inherited=inherited,
            monotonic=lambda: self.now,
            sleep=self.sleep,
        )
        self.addCleanup(lock.release)
        return lock

    def refusal(self) -> str:
        """Return why a lock is refused."""
        return str(self.assertRaises(StorageInUseError, self.lock().acquire))

    def test_one_owner(self) -> None:
        """A second owner is refused, with one line that names the first."""
        first = self.lock(holder="asciid verify")
        first.acquire()
        first.acquire()
        refusal = self.refusal()
        host = os.uname().nodename
        self.assertRegex(
            refusal,
            rf"^in use by asciid verify, pid {os.getpid()} on host {host}, "
            r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$",
        )
        first.release()
        first.release()
        self.lock().acquire()

    def test_owner_that_ends(self) -> None:
        """An owner that is ending is waited for."""
        first, second = self.lock(), self.lock()
        first.acquire()

        def sleep(seconds: float) -> None:
            self.sleep(seconds)
            if self.now > LOCK_TIMEOUT / 2:
                first.release()

        second.sleep = sleep
        second.acquire()
        self.assertLess(self.now, LOCK_TIMEOUT)
        self.refusal()

    def test_owner_that_does_not_end(self) -> None:
        """It is waited for so long, and no longer."""
        self.lock().acquire()
        self.refusal()
        self.assertApproximates(self.now, LOCK_TIMEOUT, 0.1)
        self.assertLess(max(self.slept), 0.2)

    def test_files_that_are_removed(self) -> None:
        """No file that is removed makes room for a second owner."""
        self.lock().acquire()
        (self.path / "lock.mdb").touch()
        for file in self.path.iterdir():
            file.unlink()
        self.assertEqual(self.refusal(), "in use by another process")

    def test_file_that_is_opened_twice(self) -> None:
        """To open and close a file in the directory does not end the ownership."""
        self.lock().acquire()
        with (self.path / LOCK_FILE).open("r+b"):
            pass
        os.close(os.open(self.path, os.O_RDONLY))
        self.refusal()

    def test_description_that_is_unreadable(self) -> None:
        """What somebody else wrote there is not printed on a terminal."""
        self.lock().acquire()
        for text in (b"", b"a\nb", b"\x1b[2J", b"\xff\x00"):
            (self.path / LOCK_FILE).write_bytes(text)
            self.assertEqual(self.refusal(), "in use by another process")
        (self.path / LOCK_FILE).write_text("x" * 1_000)
        self.assertLess(len(self.refusal()), 300)

    def test_description_that_cannot_be_written(self) -> None:
        """A full disk does not keep the storage from being served."""

        def full(*_: object, **__: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.path.mkdir()
        self.patch(StorageLock, "_describe", full)
        lock = self.lock()
        lock.acquire()
        self.assertEqual(self.refusal(), "in use by another process")
        lock.release()

    def test_link_in_the_place_of_the_description(self) -> None:
        """If the description is a link, its target is not overwritten."""
        self.path.mkdir()
        target = self.path.with_name(f"{self.path.name}-target")
        target.write_text("untouched")
        (self.path / LOCK_FILE).symlink_to(target)
        self.lock().acquire()
        self.assertEqual(target.read_text(), "untouched")

    def test_directory_that_is_renamed(self) -> None:
        """The owner keeps a directory that is renamed, and has not the new one."""
        first, second = self.lock(), self.lock()
        first.acquire()
        moved = self.path.with_name(f"{self.path.name}-moved")

        def sleep(seconds: float) -> None:
            self.sleep(seconds)
            if not moved.exists():
                self.path.rename(moved)

        second.sleep = sleep
        second.acquire()
        self.assertTrue(os.path.samestat(os.fstat(second.held), self.path.stat()))
        self.path = moved
        self.refusal()

    def test_directory_that_is_renamed_at_the_last_moment(self) -> None:
        """A lock on a directory that has another name by then is no lock."""
        moved = self.path.with_name(f"{self.path.name}-moved")
        flock = fcntl.flock

        def renaming(descriptor: int, operation: int) -> None:
            if not moved.exists():
                self.path.rename(moved)
            flock(descriptor, operation)

        self.patch(fcntl, "flock", renaming)
        lock = self.lock()
        lock.acquire()
        self.assertTrue(os.path.samestat(os.fstat(lock.held), self.path.stat()))

    def test_inherited(self) -> None:
        """A child has the lock by its descriptor, and keeps it when the parent ends."""
        parent = self.lock()
        parent.acquire()
        descriptor = os.dup(parent.held)
        child = self.lock(inherited=descriptor)
        child.acquire()
        self.assertEqual(child.held, descriptor)
        child.release()
        parent.release()
        self.refusal()
        os.close(descriptor)
        self.lock().acquire()

    def test_not_held(self) -> None:
        """A lock that is not held has no descriptor to be inherited."""
        self.assertRaises(StorageInUseError, lambda: self.lock().held)

    def test_directories_above_are_synced(self) -> None:
        """Before there is a data file, the names of all directories are synced."""
        synced: list[Path] = []
        self.patch(_lock, "sync_directory", synced.append)
        lock = StorageLock(self.path / "a" / "b")
        lock.acquire()
        lock.release()
        above = [self.path / "a", self.path, self.path.parent]
        self.assertEqual(synced[:3], above)
        # A start that was interrupted may have created them and synced nothing.
        synced.clear()
        lock.acquire()
        lock.release()
        self.assertEqual(synced[:3], above)
        synced.clear()
        (lock.path / "data.mdb").touch()
        lock.acquire()
        lock.release()
        self.assertEqual(synced, [])

    def test_directory_above_that_cannot_be_read(self) -> None:
        """A directory that this user cannot read was there before."""

        def refused(_: Path) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        self.patch(_lock, "sync_directory", refused)
        lock = StorageLock(self.path)
        lock.acquire()
        lock.release()

    def test_file_system_without_locks(self) -> None:
        """Errors of the system are reported unchanged."""

        def unsupported(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        self.patch(fcntl, "flock", unsupported)
        error = self.assertRaises(OSError, self.lock().acquire)
        self.assertEqual(error.errno, errno.ENOLCK)
