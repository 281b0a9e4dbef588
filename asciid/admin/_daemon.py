"""Asks the daemon that uses a storage to do something."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any

from asciid._storage_socket import socket_name
from asciid.control import SOCKET_FILE, VERSION
from asciid.errors import AsciidError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DaemonError", "NoDaemonError", "ask_daemon"]


class DaemonError(AsciidError):
    """The daemon did not do what it was asked for; the text says why."""


class NoDaemonError(AsciidError):
    """No daemon that takes commands uses the storage."""


def ask_daemon(storage: Path, command: str) -> dict[str, Any]:
    """
    Have the daemon that uses `storage` carry out a command; return its answer.

    This waits for as long as it takes.

    Errors: `NoDaemonError`, `DaemonError`, `OSError`.
    """
    directory = os.open(storage, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(socket_name(directory, SOCKET_FILE))
            except (ConnectionRefusedError, FileNotFoundError) as error:
                message = f"no daemon takes commands in {storage}"
                raise NoDaemonError(message) from error
            request = {"version": VERSION, "command": command}
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as answers:
                return _answer(answers.readline())
    finally:
        os.close(directory)


def _answer(line: bytes) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        message = "the daemon ended before it was done"
        raise DaemonError(message)
    document: dict[str, Any] = json.loads(line)
    if document.pop("version") != VERSION:
        message = "the daemon is of another release"
        raise DaemonError(message)
    if "error" in document:
        raise DaemonError(document["error"])
    return document
