"""Copies of a storage, which are checked before they get their name."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from attrs import astuple, frozen

from asciid.engines.lmdb._directories import (
    DATA_FILE,
    LMDB_LOCK_FILE,
    LOCK_FILE,
    sync_directory,
)
from asciid.engines.lmdb._storage_file import StorageFile
from asciid.engines.lmdb._verification import Verification, leave_in
from asciid.errors import AsciidError

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.engines.lmdb._databases import Snapshot
    from asciid.engines.lmdb._verification import Pace

__all__ = [
    "Copied",
    "DamagedError",
    "backup",
    "compact",
    "discard_copy",
    "make_copy",
    "put_in_place",
]

_WORK = "compact.tmp"


class DamagedError(AsciidError):
    """The copy, and so its source, has damaged images."""


@frozen
class Copied:
    """A copy that was made and checked."""

    images: int
    """How many complete images it has; each was read and has its hash."""
    before: int
    """The length of the file that was copied, in bytes."""
    after: int
    """The length of the copy, in bytes."""

    @property
    def report(self) -> dict[str, int]:
        """The same, by the names that commands print."""
        return {
            "images": self.images,
            "bytes_before": self.before,
            "bytes_after": self.after,
        }


class _Source(Protocol):
    """The source of a copy: a storage file, or the environment of a store."""

    @property
    def path(self) -> Path: ...

    def copy(self, directory: Path, /) -> None: ...

    def read(self, query: Callable[[Snapshot], list[int]], /) -> list[int]: ...


def backup(
    copy: Callable[[Path], object], destination: Path, pace: Pace
) -> tuple[int, int]:
    """
    Make a copy of a storage in the new directory `destination`.

    `copy` is called with the empty directory in which it has to put the data file.
    The copy has its name only once it was checked and is on disk.  Return how many
    complete images it has, and the length of its file in bytes.

    Errors: `FileExistsError`, `DamagedError`, `OSError`, `lmdb.Error`, those of
    `copy`; nothing is left behind then.
    """
    if os.path.lexists(destination):
        message = f"{destination} exists already"
        raise FileExistsError(message)
    parent = destination.absolute().parent
    work = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=parent))
    try:
        copy(work)
        images = _check(work, pace)
        size = (work / DATA_FILE).stat().st_size
        work.chmod(0o750)
        work.rename(destination)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    sync_directory(parent)
    return images, size


def compact(storage: StorageFile, pace: Pace) -> Copied:
    """
    Put a copy without unused room in the place of a storage's file.

    At any moment, a power cut included, the file is the old one or the new one, and
    both hold the same.  `storage` has the old one open.

    Errors: `DamagedError`, `OSError`, `lmdb.Error`; the storage is as it was then.
    """
    copied = make_copy(storage, pace)
    put_in_place(storage.path)
    return copied


def make_copy(storage: _Source, pace: Pace) -> Copied:
    """
    Make a copy without unused room beside a storage's file, for `put_in_place`.

    The storage must not change meanwhile.

    Errors: `DamagedError`, `OSError`, `lmdb.Error`, those of `pace`; nothing is
    left behind then.
    """
    work = storage.path / _WORK
    # Left by one that was killed: no other process can be using it.
    discard_copy(storage.path)
    work.mkdir(mode=0o700)
    try:
        before = (storage.path / DATA_FILE).stat().st_size
        storage.copy(work)
        images = _check(work, pace, storage.read(_entries))
        (work / LMDB_LOCK_FILE).touch()
        for name in (LMDB_LOCK_FILE, DATA_FILE):
            _take_owner(work / name, (storage.path / name).stat())
        _sync_file(work / DATA_FILE)
        after = (work / DATA_FILE).stat().st_size
    except BaseException:
        discard_copy(storage.path)
        raise
    return Copied(images, before, after)


def _take_owner(file: Path, owner: os.stat_result) -> None:
    """Give a file the owner and the mode of another."""
    made = file.stat()
    # A service may be denied chown(2) altogether, even without a change.
    if (made.st_uid, made.st_gid) != (owner.st_uid, owner.st_gid):
        os.chown(file, owner.st_uid, owner.st_gid)
    file.chmod(owner.st_mode & 0o777)


def put_in_place(path: Path) -> None:
    """
    Put the copy that `make_copy` made in the place of the file.

    It gets a lock file of its own: in that of another file, LMDB would take the number
    of that file's last transaction for its own, and see an older state, or none.

    Errors: `OSError`.
    """
    try:
        for name in (LMDB_LOCK_FILE, DATA_FILE):
            (path / _WORK / name).replace(path / name)
        sync_directory(path)
    finally:
        discard_copy(path)


def discard_copy(path: Path) -> None:
    """Delete a copy that was not put in its place, if there is one."""
    shutil.rmtree(path / _WORK, ignore_errors=True)


def _check(work: Path, pace: Pace, entries: list[int] | None = None) -> int:
    """
    Check the copy in the directory `work`, and have it on disk.

    It must have so many `entries`, if given.  Return how many complete images
    it has.
    """
    (work / DATA_FILE).chmod(0o640)
    with StorageFile(work, accepts_old=True) as copy:
        verification = Verification(copy, pace, leave_in(copy))
        damaged = sum(1 for _ in verification.run())
        whole = entries is None or copy.read(_entries) == entries
    if damaged or not whole:
        what = f"{damaged} images are damaged" if damaged else "records are missing"
        message = f"{what}: asciid verify lists the images"
        raise DamagedError(message)
    for name in (LOCK_FILE, LMDB_LOCK_FILE):
        (work / name).unlink()
    _sync_file(work / DATA_FILE)
    sync_directory(work)
    return verification.images


def _entries(snapshot: Snapshot) -> list[int]:
    """Return how many records each database has."""
    return [
        snapshot.transaction.stat(database)["entries"]
        for database in astuple(snapshot.databases, recurse=False)
    ]


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
