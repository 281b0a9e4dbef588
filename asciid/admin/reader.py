"""
The process that reads a storage for a command: ``python -P -m asciid.admin.reader``.

The owner of the storage starts it for `asciid verify` and `asciid backup`.  So it is in
the owner's PID namespace, as LMDB requires of readers, and if a damaged page kills it
by a signal, the owner survives.

Its argument is a JSON object, see `asciid.admin.owner_commands`.  It writes JSON
objects to its standard output, one per line; the last one has ``"done"`` or
``"error"``.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from attrs import asdict

from asciid.admin._pace import Pace
from asciid.engines.lmdb.maintenance import (
    MAX_DAMAGED,
    RecordChecks,
    StorageFile,
    StorageLock,
    Verification,
    identity_of,
    leave_in,
    leave_records_in,
)
from asciid.errors import AsciidError
from asciid.runtime.niceness import lower_priority
from asciid.runtime.text import reason_of
from asciid.store.engine import StorageInUseError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ANSWERS", "DESTINATION", "FOUND", "PRINTED", "STORAGE", "main"]

ANSWERS = 0
"""The descriptor of the owner's answers; at its end of file this process exits."""

FOUND = 1
"""The descriptor of the output."""

PRINTED = 2
"""The descriptor of standard error."""

STORAGE = 3
"""The descriptor of the storage directory, which holds the owner's lock."""

DESTINATION = 4
"""The descriptor of a stream socket to write a copy to."""

STALLED = 60
"""Seconds without progress until a copy is aborted."""


class _Owner:
    """The pipes to and from the owner of the storage."""

    def __init__(self) -> None:
        self._answers: SimpleQueue[bool] = SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, document: Mapping[str, object]) -> None:
        """Send a JSON object."""
        os.write(FOUND, json.dumps(document).encode() + b"\n")

    def put_aside(self, digest: bytes, record: bytes, completed: int) -> bool:
        """Have the owner put an image in quarantine; see `Verification.put_aside`."""
        self.send({"put_aside": [digest.hex(), record.hex(), completed]})
        return self._answers.get()

    def mend(self, name: str, key: bytes) -> bool:
        """Have the owner mend a record; see `RecordChecks.mend`."""
        self.send({"mend": [name, key.hex()]})
        return self._answers.get()

    def _listen(self) -> None:
        with os.fdopen(ANSWERS, "rb", buffering=0, closefd=False) as answers:
            while answer := answers.read(1):
                self._answers.put(answer == b"1")
        # The other thread may be in C code that does not return soon.
        os._exit(1)


def main(argument: str) -> None:
    """Carry out the task in `argument`."""
    task = json.loads(argument)
    owner = _Owner()
    lower_priority()
    try:
        found = _read(task, owner)
    except (AsciidError, OSError) as error:
        found = {"error": reason_of(error)}
    owner.send(found)


def _read(task: Mapping[str, Any], owner: _Owner) -> Mapping[str, object]:
    path = Path(f"/proc/self/fd/{STORAGE}")
    lock = StorageLock(path, inherited=STORAGE)
    with StorageFile(path, lock=lock, readonly=True) as storage:
        if list(identity_of(path)) != task["identity"]:
            message = "data.mdb or lock.mdb was removed or replaced: restart the daemon"
            raise StorageInUseError(message)
        if task["task"] == "verify":
            return _verify(storage, task, owner)
        _copy(storage)
        return {"done": {}}


def _verify(
    storage: StorageFile, task: Mapping[str, Any], owner: _Owner
) -> Mapping[str, object]:
    quarantine = task["quarantine"]
    verification = Verification(
        storage,
        Pace(task["rate"]),
        owner.put_aside if quarantine else leave_in(storage),
        max_damaged=MAX_DAMAGED if quarantine else 1.0,
    )
    for damaged in verification.run():
        owner.send({"damaged": asdict(damaged)})
    records = RecordChecks(
        storage, owner.mend if quarantine else leave_records_in(storage)
    )
    for inconsistent in records.run():
        owner.send({"inconsistent": asdict(inconsistent)})
    return {"done": {"images": verification.images, "bytes": verification.size}}


def _copy(storage: StorageFile) -> None:
    with socket.socket(fileno=os.dup(DESTINATION)) as destination:
        # The write of LMDB fails with EAGAIN then.
        timeout = struct.pack("ll", STALLED, 0)
        destination.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        storage.copy_to(destination.fileno())


if __name__ == "__main__":
    main(sys.argv[1])
