"""Who may use a storage directory at the same time."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from asciid.store._lock import StorageInUseError, StorageLock


class StorageLockTests(SynchronousTestCase):
    """Locks on one directory."""

    def setUp(self) -> None:
        """Make a directory."""
        self.path = Path(self.mktemp())
        self.path.mkdir()

    def lock(self, *, exclusive: bool) -> StorageLock:
        """Take a lock for as long as the test runs."""
        lock = StorageLock(self.path, exclusive)
        lock.acquire()
        self.addCleanup(lock.release)
        return lock

    def assert_refused(self, text: str, *, exclusive: bool) -> None:
        """Check that a lock is refused, and why."""
        refusal = self.assertRaises(
            StorageInUseError, StorageLock(self.path, exclusive).acquire
        )
        self.assertIn(text, str(refusal))

    def test_shared(self) -> None:
        """Many may share a directory; until all have gone nobody has it alone."""
        locks = [self.lock(exclusive=False) for _ in range(2)]
        for lock in locks:
            self.assert_refused("used by another process", exclusive=True)
            lock.release()
        self.lock(exclusive=True)

    def test_exclusive(self) -> None:
        """Who has a directory alone shares it with nobody, until it is released."""
        lock = self.lock(exclusive=True)
        self.assert_refused("being compacted", exclusive=False)
        self.assert_refused("used by another process", exclusive=True)
        lock.release()
        lock.release()
        self.lock(exclusive=False)

    def test_file_system_without_locks(self) -> None:
        """What the system cannot do is told as it is."""

        def unsupported(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        self.patch(fcntl, "flock", unsupported)
        error = self.assertRaises(
            OSError, StorageLock(self.path, exclusive=False).acquire
        )
        self.assertEqual(error.errno, errno.ENOLCK)
