"""Keeps edit keys in the state directory of the user: one file per server and image."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import tempfile
from contextlib import suppress
from hashlib import sha256 as sha_256
from pathlib import Path
from urllib.parse import quote

__all__ = ["EditKeys"]

_PRIVATE = 0o700
_OTHERS = 0o077
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_LONGEST_NAME = 200
"""Maximum characters of a directory name; file systems have 255 bytes or less."""


class EditKeys:
    """
    The edit keys of images on the server at the URL `server`.

    Each is a file with the key and a newline, mode 0600, in a directory of mode 0700
    below ``$XDG_STATE_HOME/asciid/edit-keys``.  A file is replaced atomically, so
    several processes may save keys at the same time.
    """

    def __init__(self, server: str) -> None:
        name = quote(server, safe="")
        if len(name) > _LONGEST_NAME:
            name = sha_256(server.encode()).hexdigest()
        self._server_name = name
        self._made: Path | None = None

    @property
    def directory(self) -> Path:
        """
        The directory of the server.

        Raises :exc:`OSError` if the user has no home directory.
        """
        return _state_home() / "asciid" / "edit-keys" / self._server_name

    def file_of(self, sha256: str) -> Path | None:
        """
        Return the file with the edit key of an image, None if there is none.

        Raises :exc:`OSError` if that cannot be known.
        """
        path = self.directory / sha256
        try:
            path.lstat()
        except FileNotFoundError:
            return None
        return path

    def has(self, sha256: str) -> bool:
        """Return whether an edit key is known to be saved."""
        try:
            return self.file_of(sha256) is not None
        except OSError:
            return False

    def save(self, sha256: str, edit_key: str) -> None:
        """
        Save an edit key, in place of an earlier one; blocks.

        Raises :exc:`OSError`.
        """
        directory = self.directory
        if self._made != directory:  # several threads may do this
            _make_private(directory)
            self._made = directory
        name = f"{directory}/.new-{secrets.token_hex(8)}"
        _write(os.open(name, _NEW, 0o600), name, edit_key)
        try:
            os.rename(name, f"{directory}/{sha256}")  # noqa: PTH104 - a tenth of the time
        except BaseException:
            _remove_file(name)
            raise

    def save_somewhere(self, sha256: str, edit_key: str) -> str:
        """
        Save an edit key, if need be elsewhere; blocks.

        Returns a warning that says where, empty if it is in its place.
        """
        try:
            self.save(sha256, edit_key)
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            return ""
        try:
            descriptor, name = tempfile.mkstemp(
                prefix=f"asciid-edit-key-{sha256[:12]}-"
            )
            _write(descriptor, name, edit_key)
            place = f"in {name}"
        except OSError:
            place = f"here, and nowhere else: {edit_key}"
        where = "the state directory"
        with suppress(OSError):
            where = str(self.directory)
        return f"cannot write to {where}: {reason}; the edit key is {place}"

    def remove(self, sha256: str) -> None:
        """
        Remove the edit key of an image, if it is there.

        Raises :exc:`OSError`.
        """
        (self.directory / sha256).unlink(missing_ok=True)


def _state_home() -> Path:
    # A relative path has to be ignored (XDG Base Directory Specification).
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if state.is_absolute():
        return state
    try:
        return Path.home() / ".local" / "state"
    except RuntimeError as error:
        message = "no home directory"
        raise FileNotFoundError(message) from error


def _make_private(directory: Path) -> None:
    """Make a directory and what is missing above, for this user alone."""
    for each in (*reversed(directory.parents), directory):
        if not each.is_dir():
            each.mkdir(mode=_PRIVATE, exist_ok=True)
    for each in (directory.parents[1], directory.parents[0], directory):
        mode = stat.S_IMODE(each.stat().st_mode)
        if mode & _OTHERS:
            each.chmod(mode & ~_OTHERS)


def _write(descriptor: int, name: str, edit_key: str) -> None:
    """Write a key to the disk, and close the new file `name`; remove it on failure."""
    try:
        try:
            line = f"{edit_key}\n".encode("ascii")
            if os.write(descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        _remove_file(name)
        raise


def _remove_file(name: str) -> None:
    with suppress(OSError):
        Path(name).unlink()
