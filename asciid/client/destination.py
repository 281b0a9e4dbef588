"""The outputs of downloads: files that appear atomically, or existing streams."""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["InPlace", "descriptor_of", "destination_of", "real_path"]

_STANDARD_OUTPUT = "-"
_MAX_LINKS = 40  # as in Linux

_is_open_file = re.compile(r"/proc/([0-9]+)(?:/task/[0-9]+)?/fd/([0-9]+)").fullmatch


@frozen
class InPlace:
    """
    An output that is written directly: a pipe, a device, a socket, or an open file.

    `what` is a path or a descriptor; None is standard output.
    """

    what: Path | int | None

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Open it for writing; :exc:`OSError` if it cannot be opened or written."""
        if self.what is None:
            with click.open_file(_STANDARD_OUTPUT, "wb") as stream:
                yield stream
                stream.flush()
            return
        # A descriptor is written at its offset, not truncated.
        what = self.what if isinstance(self.what, Path) else os.dup(self.what)
        with open(what, "wb") as file:  # noqa: PTH123 - not always a path
            yield file


def destination_of(output: str | None, name: str) -> Path | InPlace:
    """
    Return the output that `output` names.

    None is the file `name` in the current directory; `name` is also used in a
    directory.  Raises :exc:`NotADirectoryError` for a missing directory.
    """
    if output == _STANDARD_OUTPUT:
        return InPlace(None)
    path = Path(output or "")
    mode = _mode_of(path)
    if mode is not None and stat.S_ISDIR(mode):
        path /= name
        mode = _mode_of(path)
    elif output is not None and output.endswith("/"):
        code = errno.ENOTDIR
        raise NotADirectoryError(code, os.strerror(code), output)
    descriptor = descriptor_of(path)
    if descriptor is not None:
        return InPlace(descriptor)
    if mode is not None and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        return InPlace(path)
    return path


def real_path(path: Path) -> Path:
    """
    Resolve the symbolic links in `path`.

    Raises :exc:`OSError` for loops, and for links that the system does not follow:
    those of other users in a shared directory, such as /tmp.
    """
    if not path.is_symlink():
        return path
    # The target of a link need not exist yet.
    with suppress(FileNotFoundError):
        os.close(os.open(path, os.O_PATH | os.O_CLOEXEC))
    return Path(os.path.realpath(path))


def _mode_of(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except OSError:
        return None


def descriptor_of(path: Path) -> int | None:
    """Return the descriptor that `path` names, such as /dev/stdout."""
    for _ in range(_MAX_LINKS):
        path = Path(os.path.realpath(path.parent), path.name)
        found = _is_open_file(str(path))
        if found is not None and int(found[1]) == os.getpid():
            return int(found[2])
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None
