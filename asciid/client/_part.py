"""
The file that a download grows in, beside the one it will be.

All of it blocks, and is meant for threads.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from hashlib import sha256 as _sha256
from threading import Lock
from typing import IO, TYPE_CHECKING

from asciid.client._exceptions import DownloadBusyError
from asciid.client.destination import real_path

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PartFile", "hash_of"]


_PIECE = 1024 * 1024
_LONGEST_NAME = 232  # bytes; with what is added there are no more than 255


def hash_of(file: IO[bytes]) -> str:
    """Return the SHA-256 of all that is in a file, in lower-case hex digits."""
    digest = _sha256()
    file.seek(0)
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()


class PartFile:
    """
    A part of the image `sha256`, which is to be at `target`, or where that links to.

    Only one process at a time has it; with `resume` it holds what an earlier one
    has left.
    """

    def __init__(self, target: Path, sha256: str, *, resume: bool) -> None:
        self._target = target
        self._sha256 = sha256
        self._resume = resume
        self._lock = Lock()  # `leave` may come while another thread opens
        self._left = False
        self.file: IO[bytes]

    def open(self) -> None:
        """
        Open it, as `file`.

        Raises :exc:`DownloadBusyError` while another has it, and :exc:`OSError`, also
        if the target is there and is not a regular file.
        """
        self._target = real_path(self._target)
        if self._target.exists() and not self._target.is_file():
            code = errno.EISDIR if self._target.is_dir() else errno.EINVAL
            raise OSError(code, os.strerror(code), str(self._target))
        self._path = self._target.with_name(self._part_name())
        file = self._taken()
        if not self._resume:
            file.truncate(0)
        with self._lock:
            self.file = file
            if self._left:
                self._end()

    def _part_name(self) -> str:
        name = self._target.name
        if len(os.fsencode(name)) > _LONGEST_NAME:
            name = _sha256(os.fsencode(name)).hexdigest()
        return f".{name}.{self._sha256[:16]}.part"

    def _taken(self) -> IO[bytes]:
        while True:
            file = self._opened()
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is(file):
                    return file
            except BlockingIOError as error:
                file.close()
                message = f"another download to {self._target} is under way"
                raise DownloadBusyError(message) from error
            # Whoever had it has finished in between, and it has its last name.
            file.close()

    def _opened(self) -> IO[bytes]:
        # In a directory for all, such as /tmp, somebody may have put a link there
        # to a file of ours.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.fdopen(os.open(self._path, flags, 0o666), "a+b")

    def _is(self, file: IO[bytes]) -> bool:
        """Tell whether the open file still has the name of a part."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def finish(self) -> None:
        """
        Put the file where it is to be, on disk; the name is the last step.

        With the name it is all there: what fails after that is no failure.
        """
        self.file.flush()
        os.fsync(self.file.fileno())
        self._path.replace(self._target)
        with suppress(OSError):
            self.file.close()
        with suppress(OSError):
            self._sync_directory()

    def _sync_directory(self) -> None:
        directory = os.open(self._target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def leave(self) -> None:
        """Close it for now; what is of no use to a later download is removed."""
        with self._lock:
            self._left = True
            if hasattr(self, "file") and not self.file.closed:
                self._end()

    def _end(self) -> None:
        # Why the download has ended is what counts.
        with suppress(OSError), self.file as file:
            if not self._resume or file.seek(0, os.SEEK_END) == 0:
                self._path.unlink(missing_ok=True)
