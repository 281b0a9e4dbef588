"""How a command becomes the owner of a storage, or asks the one there is."""

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
    PATIENCE,
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
"""Seconds between two attempts."""


class OwnerError(AsciidError):
    """The owner did not do what it was asked for; the text says why."""


class NoOwnerError(AsciidError):
    """No process takes commands for the storage."""


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
                    message = f"no daemon takes commands in {storage}"
                    raise NoOwnerError(message) from error
                except OSError as error:
                    error.filename = str(storage / SOCKET_FILE)
                    raise
                yield cls(connection)
        finally:
            os.close(directory)

    def ask(
        self, command: str, descriptor: int | None = None, **arguments: object
    ) -> None:
        """
        Have the owner carry out a command; `descriptor` is passed to it.

        What comes of it, `answer` has: the owner may have ended.
        """
        request = {"version": VERSION, "command": command, **arguments}
        line = json.dumps(request).encode() + b"\n"
        descriptors = [] if descriptor is None else [descriptor]
        with suppress(ConnectionError):
            # That is less than any socket takes at once.
            socket.send_fds(self._connection, [line], descriptors)

    def answer(
        self, progress: Callable[[dict[str, Any]], object] = lambda _: None
    ) -> dict[str, Any]:
        """
        Wait for the answer; `progress` is called with what precedes it.

        This waits for as long as it takes.

        Errors: `OwnerError`, `OSError`.
        """
        with suppress(ConnectionError), self._connection.makefile("rb") as lines:
            for line in lines:
                document = _read(line)
                if "progress" not in document:
                    return document
                progress(document["progress"])
        message = "the daemon ended before it was done"
        raise OwnerError(message)


def on_storage(
    storage: Path,
    name: str,
    alone: Callable[[StorageFile], ResultT],
    asked: Callable[[Owner], ResultT],
) -> ResultT:
    """
    Work on `storage`: as its owner, or through the process that is.

    Where none is, `alone` is called with the storage, which this process owns as
    `name`; else `asked` with a connection to the owner.  An owner that takes no
    commands is waited for, as it may be starting or ending.

    Errors: `NoStorageError`, `StorageInUseError`, `StorageUnusableError`, `OSError`,
    those of `alone` and `asked`.
    """
    deadline = time.monotonic() + PATIENCE
    lock = StorageLock(storage, holder=name, patience=0.0)
    while True:
        try:
            with StorageFile(storage, lock=lock) as opened:
                return alone(opened)
        except StorageInUseError as error:
            in_use = f"{storage} is {error}"
        try:
            with Owner.of(storage) as owner:
                return asked(owner)
        except NoOwnerError:
            if time.monotonic() >= deadline:
                raise StorageInUseError(in_use) from None
        time.sleep(_RETRY_EVERY)


def _read(line: bytes) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        message = "the daemon ended before it was done"
        raise OwnerError(message)
    document: dict[str, Any] = json.loads(line)
    if document.pop("version") != VERSION:
        message = "the daemon is of another release"
        raise OwnerError(message)
    if "error" in document:
        raise OwnerError(document["error"])
    return document
