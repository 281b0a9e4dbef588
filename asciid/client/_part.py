"""
The partial file of a download, beside its target.

All functions block: call them in threads.
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
_LONGEST_NAME = 232  # bytes, so that with the suffix there are at most 255


def hash_of(file: IO[bytes]) -> str:
    """Return the SHA-256 of a file in lower-case hex digits."""
    digest = _sha256()
    file.seek(0)
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()


class PartFile:
    """
    The partial file of the image `sha256`, for `target` or the file it links to.

    Locked against other processes; with `resume` it may have the bytes of an earlier
    download.
    """

    def __init__(self, target: Path, sha256: str, *, resume: bool) -> None:
        self._target = target
        self._sha256 = sha256
        self._resume = resume
        self._lock = Lock()  # `leave` may be called while another thread opens
        self._left = False
        self.file: IO[bytes]

    def open(self) -> None:
        """
        Open and lock it, as `file`.

        Raises :exc:`DownloadBusyError` while it is locked, and :exc:`OSError`, also if
        the target exists and is not a regular file.
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
                message = f"another download to {self._target} is running"
                raise DownloadBusyError(message) from error
            # Its owner has finished meanwhile and renamed it.
            file.close()

    def _opened(self) -> IO[bytes]:
        # In a shared directory, such as /tmp, it may be another user's link to a file
        # of this user.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.fdopen(os.open(self._path, flags, 0o666), "a+b")

    def _is(self, file: IO[bytes]) -> bool:
        """Return whether the open file still has its name."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def finish(self) -> None:
        """
        Sync the file and rename it to the target.

        Errors after the rename are ignored.
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
        """Close the file; remove it if a later download cannot use it."""
        with self._lock:
            self._left = True
            if hasattr(self, "file") and not self.file.closed:
                self._end()

    def _end(self) -> None:
        # Must not hide the error that ended the download.
        with suppress(OSError), self.file as file:
            if not self._resume or file.seek(0, os.SEEK_END) == 0:
                self._path.unlink(missing_ok=True)
