"""Copies of a storage that are checked before anybody relies on them."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from asciid.errors import AsciidError
from asciid.store._environment import sync_directory
from asciid.store._lock import LOCK_FILE
from asciid.store._storage_file import DATA_FILE, StorageFile
from asciid.store._verification import Verification

if TYPE_CHECKING:
    from asciid.store._databases import Snapshot
    from asciid.store._verification import Pace

__all__ = ["Copied", "DamagedError", "backup", "compact"]

_WORK = "compact.tmp"
_LMDB_LOCK_FILE = "lock.mdb"


class DamagedError(AsciidError):
    """The copy, and so what it was made from, has images that are damaged."""


@frozen
class Copied:
    """A copy that was made and checked."""

    images: int
    """How many complete images it has; each was read and has its hash."""
    before: int
    """The length of the file that was copied, in bytes."""
    after: int
    """The length of the copy, in bytes."""


def backup(source: Path, destination: Path, pace: Pace) -> Copied:
    """
    Copy the storage `source` to the new directory `destination`.

    Daemons may use it meanwhile; the copy has what was committed at one moment.
    It has its name only once it was checked and is on disk.

    Errors: `FileExistsError`, `DamagedError`, `NoStorageError`, `OSError`,
    `lmdb.Error`; nothing is left behind then.
    """
    if os.path.lexists(destination):
        message = f"{destination} exists already"
        raise FileExistsError(message)
    parent = destination.absolute().parent
    with StorageFile(source) as storage:
        work = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=parent))
        try:
            copied = _copy(storage, work, pace)
            work.chmod(0o750)
            work.rename(destination)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        sync_directory(parent)
    return copied


def compact(path: Path, pace: Pace) -> Copied:
    """
    Put a copy without unused room in the place of a storage's file.

    No other process may use the storage.  At any moment, a power cut included,
    the file is the old one or the new one, and both hold the same.

    Errors: `StorageInUseError`, `DamagedError`, `NoStorageError`, `OSError`,
    `lmdb.Error`; the storage is as it was then.
    """
    with StorageFile(path, exclusive=True) as storage:
        work = path / _WORK
        # Left by one that was killed; nobody else can be at work on it.
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(mode=0o700)
        try:
            copied = _copy(storage, work, pace)
            owner = (path / DATA_FILE).stat()
            os.chown(work / DATA_FILE, owner.st_uid, owner.st_gid)
            (work / DATA_FILE).chmod(owner.st_mode & 0o777)
            (work / DATA_FILE).replace(path / DATA_FILE)
            sync_directory(path)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return copied


def _copy(storage: StorageFile, work: Path, pace: Pace) -> Copied:
    """Copy to the empty directory `work`, check the copy, have it on disk."""
    before = storage.size
    storage.copy(work)
    (work / DATA_FILE).chmod(0o640)
    with StorageFile(work) as copy:
        verification = Verification(copy, pace, quarantine=False)
        damaged = [image.sha256 for image in verification.run()]
        # Others may have changed the storage since, unless nobody could.
        whole = not storage.exclusive or copy.read(_entries) == storage.read(_entries)
    if damaged or not whole:
        what = (
            f"{len(damaged)} images are damaged" if damaged else "records are missing"
        )
        message = f"{what}: asciid verify tells which images"
        raise DamagedError(message)
    for name in (LOCK_FILE, _LMDB_LOCK_FILE):
        (work / name).unlink()
    _sync_file(work / DATA_FILE)
    sync_directory(work)
    return Copied(verification.images, before, (work / DATA_FILE).stat().st_size)


def _entries(snapshot: Snapshot) -> list[int]:
    """Return how many records each database has."""
    databases = snapshot.databases
    return [
        snapshot.transaction.stat(database)["entries"]
        for database in (
            databases.images,
            databases.uploads,
            databases.chunks,
            databases.staged,
            databases.discarded,
            databases.gone,
            databases.quarantined,
        )
    ]


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
