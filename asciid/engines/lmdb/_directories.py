"""The names in a storage directory, and directories that survive a power cut."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "DATA_FILE",
    "LMDB_LOCK_FILE",
    "LOCK_FILE",
    "make_directory",
    "sync_directory",
]

DATA_FILE = "data.mdb"
"""The name that LMDB gives the file with everything in it."""

LMDB_LOCK_FILE = "lock.mdb"
"""The name that LMDB gives the file with its lock and its table of readers."""

LOCK_FILE = "asciid.lock"
"""The file that describes the owner of the storage."""


def make_directory(path: Path) -> list[Path]:
    """
    Make a directory, and those above it; return which now have a new name in them.

    Errors: `NotADirectoryError`, `OSError`.
    """
    above = [path, *path.parents]
    changed = [parent for name, parent in pairwise(above) if not name.exists()]
    try:
        path.mkdir(mode=0o750, parents=True, exist_ok=True)
    except FileExistsError as error:
        message = f"{path} is not a directory"
        raise NotADirectoryError(message) from error
    return changed


def sync_directory(path: Path) -> None:
    """Have the names in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
