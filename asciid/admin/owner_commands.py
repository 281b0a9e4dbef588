"""The owner's side of the commands verify, backup and compact."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger

from asciid.admin.reader import ANSWERS, DESTINATION, FOUND, PRINTED, STORAGE
from asciid.errors import AsciidError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.interfaces import IProcessTransport
    from twisted.python.failure import Failure

    from asciid.admin.control import Request
    from asciid.engines.lmdb.maintenance import Copied, StorageLock

__all__ = ["IMaintained", "Maintenance", "MaintenanceError"]

MAX_READERS = 4
"""Maximum concurrent commands that read the storage."""

_LONGEST_PRINTED = 16 * 1024

_log = Logger()


class IMaintained(Protocol):
    """An engine with a storage file that commands work on while it runs."""

    lock: StorageLock
    """The ownership of the directory."""

    @property
    def identity(self) -> tuple[int, int]:
        """The `identity_of` the files that are open."""

    def compact(self) -> Deferred[Copied]:
        """
        Give unused room in the file back.

        Errors: `StorageInUseError`, `StorageUnusableError`, `DamagedError`,
        `StoreClosedError`, `OSError`; the storage is unchanged then.
        """

    def put_aside(self, digest: bytes, record: bytes, completed: int) -> Deferred[bool]:
        """
        Quarantine a damaged image, unless it has changed; errors: of a commit.

        `completed` is in milliseconds since the epoch, 0 if it is not known.
        """

    def mend(self, name: str, key: bytes) -> Deferred[bool]:
        """Mend a record; see `asciid.engines.lmdb._record_checks.mend`."""

    def purge_quarantine(self) -> Deferred[int]:
        """Delete the quarantined images; return their number."""

    def restore_quarantine(self) -> Deferred[int]:
        """Restore the quarantined images; return their number."""


class MaintenanceError(AsciidError):
    """A command cannot be carried out, or failed; the text has the reason."""


class _Reader(ProcessProtocol):
    """
    The owner's side of an `asciid.admin.reader` process.

    `done` fires with the result once the process has exited; cancelling it kills the
    process.  `ended` is called with this object in either case.
    """

    transport: IProcessTransport

    def __init__(
        self,
        engine: IMaintained,
        request: Request,
        ended: Callable[[_Reader], object],
    ) -> None:
        self._engine = engine
        self._request = request
        self._ended = ended
        self._rest = b""
        self._outcome: Mapping[str, Any] = {}
        self._printed = b""
        self._reason = ""
        self.done: Deferred[Mapping[str, Any]] = Deferred(lambda _: self.end())

    def end(self, reason: str = "") -> None:
        """Kill the process; `reason` is the error that the command gets."""
        self._reason = reason
        # It only reads.
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Process output of the process."""
        if childFD == FOUND:
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._found(json.loads(line))
        else:
            self._printed = (self._printed + data)[:_LONGEST_PRINTED]

    def processEnded(self, reason: Failure) -> None:
        """Fire `done`."""
        self._ended(self)
        if self._printed:
            _log.error(
                "storage reader failed: {text}",
                text=self._printed.decode("utf-8", "replace").strip(),
            )
        if self.done.called:  # it was cancelled
            return
        if "done" in self._outcome:
            self.done.callback(self._outcome["done"])
        else:
            ended = f"storage reader exited: {reason.getErrorMessage()}"
            why = self._reason or self._outcome.get("error", ended)
            self.done.errback(MaintenanceError(why))

    def _found(self, document: Mapping[str, Any]) -> None:
        """Process a line of output."""
        if "put_aside" in document:
            digest, record, completed = document["put_aside"]
            self._engine.put_aside(
                bytes.fromhex(digest), bytes.fromhex(record), completed
            ).addCallbacks(self._answer, self._failed)
        elif "mend" in document:
            name, key = document["mend"]
            self._engine.mend(name, bytes.fromhex(key)).addCallbacks(
                self._answer, self._failed
            )
        elif "damaged" in document or "inconsistent" in document:
            self._request.progress(document)
        else:
            self._outcome = document

    def _answer(self, found: object) -> None:
        # Without its pipe it has exited, or is about to.
        with suppress(KeyError):
            self.transport.writeToChild(ANSWERS, b"1" if found else b"0")

    def _failed(self, failure: Failure) -> None:
        self.end(f"cannot change the storage: {failure.getErrorMessage()}")


@define(eq=False)
class Maintenance:
    """
    The commands on the storage of `engine`, which must be started.

    `reactor` provides IReactorProcess.
    """

    engine: IMaintained
    reactor: Any
    _readers: set[_Reader] = field(init=False, factory=set)
    _compacting: bool = field(init=False, default=False)

    def compact(self, request: Request) -> Deferred[Mapping[str, object]]:
        """
        Compact the file.

        Errors: those of `IMaintained.compact`, `MaintenanceError`.
        """
        del request
        if self._readers:
            # They have the file open that is to be replaced.
            return fail(MaintenanceError("in use by asciid verify or asciid backup"))
        self._compacting = True
        # A client that disconnects cancels this Deferred, not the compaction.
        answer: Deferred[Copied] = Deferred()

        def ended(outcome: Copied | Failure) -> None:
            self._compacting = False
            answer.callback(outcome)

        self.engine.compact().addBoth(ended)
        return answer.addCallback(lambda copied: copied.report)

    def backup(self, request: Request) -> Deferred[Mapping[str, object]]:
        """
        Write a copy of the file to the descriptor of `request`, a stream socket.

        Errors: `MaintenanceError`.
        """
        if request.descriptor is None:
            return fail(MaintenanceError("backup requires a descriptor"))
        return self._read(request, {"task": "backup"}, request.descriptor)

    def verify(self, request: Request) -> Deferred[Mapping[str, object]]:
        """
        Read and check every image; report each damaged image as progress.

        So are images whose records do not agree.

        The arguments are ``rate``, in bytes per second (0: unlimited), ``quarantine``
        and ``purge``; or ``restore``, to move images out of quarantine instead.

        Errors: `MaintenanceError`, those of `IMaintained.purge_quarantine`.
        """
        if request.arguments.get("restore") is True:
            return self.engine.restore_quarantine().addCallback(
                lambda restored: {"restored": restored}
            )
        rate = request.arguments.get("rate", 0)
        if not isinstance(rate, int) or rate < 0:
            return fail(MaintenanceError("rate must be a number of bytes per second"))
        quarantine = request.arguments.get("quarantine") is True
        task = {"task": "verify", "rate": rate, "quarantine": quarantine}
        verifying = self._read(request, task)
        if request.arguments.get("purge") is True:
            verifying = verifying.addCallback(self._purge)
        return verifying

    def stop(self) -> None:
        """Kill the processes that read the storage."""
        for reader in list(self._readers):
            reader.end("the daemon is stopping")

    def _purge(self, report: Mapping[str, object]) -> Deferred[Mapping[str, object]]:
        return self.engine.purge_quarantine().addCallback(
            lambda purged: {**report, "purged": purged}
        )

    def _read(
        self,
        request: Request,
        task: Mapping[str, object],
        destination: int | None = None,
    ) -> Deferred[Mapping[str, object]]:
        """Run `task` in a reader process."""
        if self._compacting:
            return fail(MaintenanceError("in use by asciid compact"))
        if len(self._readers) >= MAX_READERS:
            message = f"too many commands are reading the storage (limit {MAX_READERS})"
            return fail(MaintenanceError(message))
        reader = _Reader(self.engine, request, self._readers.discard)
        descriptors: dict[int, int | str] = {
            ANSWERS: "w",
            FOUND: "r",
            PRINTED: "r",
            STORAGE: self.engine.lock.held,
        }
        if destination is not None:
            descriptors[DESTINATION] = destination
        argument = json.dumps({**task, "identity": self.engine.identity})
        self.reactor.spawnProcess(
            reader,
            sys.executable,
            [sys.executable, "-P", "-m", "asciid.admin.reader", argument],
            env=os.environ,
            childFDs=descriptors,
        )
        self._readers.add(reader)
        return reader.done
