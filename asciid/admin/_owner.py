"""Runs a command as the owner of a storage, or through the process that owns it."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

from attrs import define

from asciid.admin.control import SOCKET_FILE, VERSION
from asciid.engines.lmdb.maintenance import (
    LOCK_TIMEOUT,
    StorageFile,
    StorageLock,
)
from asciid.errors import AsciidError
from asciid.net.storage_socket import socket_name
from asciid.store.engine import StorageInUseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["NoOwnerError", "Owner", "OwnerError", "on_storage"]

ResultT = TypeVar("ResultT")

_RETRY_EVERY = 0.05
"""Seconds between attempts."""


class OwnerError(AsciidError):
    """The owner failed to carry out the command; the text has the reason."""


class NoOwnerError(AsciidError):
    """No process listens on the command socket of the storage."""


@define
class Owner:
    """A connection to the process that owns a storage, for one command."""

    _connection: socket.socket

    @classmethod
    @contextmanager
    def of(cls, storage: Path) -> Iterator[Self]:
        """
        Connect to the owner of `storage`.

        Errors: `NoOwnerError`, `OSError`.
        """
        directory = os.open(storage, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                try:
                    connection.connect(socket_name(directory, SOCKET_FILE))
                except (ConnectionRefusedError, FileNotFoundError) as error:
                    message = f"no daemon accepts commands in {storage}"
                    raise NoOwnerError(message) from error
                except OSError as error:
                    error.filename = str(storage / SOCKET_FILE)
                    raise
                yield cls(connection)
        finally:
            os.close(directory)

    def request(
        self, command: str, descriptor: int | None = None, **arguments: object
    ) -> None:
        """
        Have the owner carry out a command; `descriptor` is passed to it.

        Errors are reported by `result`, also those of sending.
        """
        request = {"version": VERSION, "command": command, **arguments}
        line = json.dumps(request).encode() + b"\n"
        descriptors = [] if descriptor is None else [descriptor]
        with suppress(ConnectionError):
            # Shorter than any socket buffer.
            socket.send_fds(self._connection, [line], descriptors)

    def result(
        self, progress: Callable[[dict[str, Any]], object] = lambda _: None
    ) -> dict[str, Any]:
        """
        Wait for the result; `progress` is called with each progress line.

        Waits without a time limit.

        Errors: `OwnerError`, `OSError`.
        """
        with suppress(ConnectionError), self._connection.makefile("rb") as lines:
            for line in lines:
                document = _read(line)
                if "progress" not in document:
                    return document
                progress(document["progress"])
        message = "the daemon exited before the command finished"
        raise OwnerError(message)


def on_storage(
    storage: Path,
    name: str,
    as_owner: Callable[[StorageFile], ResultT],
    through_owner: Callable[[Owner], ResultT],
    *,
    accepts_old: bool = True,
) -> ResultT:
    """
    Carry out a command on `storage`, as its owner or through its owner.

    Without an owner, this process locks the storage as `name` and calls `as_owner` with
    it; otherwise it calls `through_owner` with a connection to the owner.  It waits for
    an owner that does not listen, which may be starting or stopping.  `accepts_old` is
    that of `StorageFile`.

    Errors: `NoStorageError`, `StorageInUseError`, `StorageUnusableError`, `OSError`,
    those of `as_owner` and `through_owner`.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT
    lock = StorageLock(storage, holder=name, timeout=0.0)
    while True:
        try:
            with StorageFile(storage, lock=lock, accepts_old=accepts_old) as opened:
                return as_owner(opened)
        except StorageInUseError as error:
            in_use = f"{storage} is {error}"
        try:
            with Owner.of(storage) as owner:
                return through_owner(owner)
        except NoOwnerError:
            if time.monotonic() >= deadline:
                raise StorageInUseError(in_use) from None
        time.sleep(_RETRY_EVERY)


def _read(line: bytes) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        message = "the daemon exited before the command finished"
        raise OwnerError(message)
    document: dict[str, Any] = json.loads(line)
    if document.pop("version") != VERSION:
        message = "the daemon runs an incompatible release"
        raise OwnerError(message)
    if "error" in document:
        raise OwnerError(document["error"])
    return document
