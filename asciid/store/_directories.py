"""Directories whose names survive a power cut."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["make_directory", "sync_directory"]


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
