"""
The messages between the workers and the writer.

A message is MessagePack behind its length, which is four bytes, the first of them
the most significant.  Either end first sends the version of its protocol; there are
no other peers, as only the owner may connect to the socket.
"""

from __future__ import annotations

import inspect

from msgspec import Struct

from asciid import errors
from asciid.errors import AsciidError, StorageFailedError
from asciid.store.operations import AnyOperation, Completed, Outcome

__all__ = [
    "VERSION",
    "Ack",
    "CloseFile",
    "Collect",
    "Collected",
    "Evict",
    "Fresh",
    "FromWorker",
    "FromWriter",
    "Gather",
    "Gathered",
    "Hello",
    "Idle",
    "Leave",
    "OpenFile",
    "Outcomes",
    "Refused",
    "Submit",
    "Welcome",
    "refused",
]

VERSION = 9
"""Raise it with every change to a message or an operation."""


class Message(Struct, frozen=True, array_like=True, tag=True):
    """Base of the messages."""


class Hello(Message, frozen=True):
    """The first message of a worker, which has a `name` of its own."""

    version: int
    name: str


class Welcome(Message, frozen=True):
    """
    The first message of the writer, which accepts operations from now on.

    It sends an `Evict` for every removal after so many `Generations.removals`.
    """

    version: int
    removals: int


class Submit(Message, frozen=True):
    """Operations to carry out together."""

    number: int
    operations: list[AnyOperation]


class Idle(Message, frozen=True):
    """After `Outcomes` there is nothing to `Submit` yet: do not wait for that."""


class Refused(Struct, frozen=True, array_like=True, tag=True):
    """The outcome of an operation that failed: the name and the values of an error."""

    error: str
    values: dict[str, bool | int | str]

    def exception(self) -> AsciidError:
        """Return the error, as the writer raised it."""
        kind: type[AsciidError] = getattr(errors, self.error)
        return kind(**self.values)


class Outcomes(Message, frozen=True):
    """The outcomes of the operations of a `Submit`, in their order."""

    number: int
    outcomes: list[Outcome | Refused]


class Fresh(Message, frozen=True):
    """Small images that have become complete through another worker."""

    images: list[Completed]


class Evict(Message, frozen=True):
    """
    Images that were removed, to be evicted from caches; None is all.

    Before it the receiver has received all other removals, up to `removals`.
    """

    removals: int
    hashes: list[str] | None


class CloseFile(Message, frozen=True):
    """Close the storage file; answer with `Ack` once it is closed."""

    number: int


class OpenFile(Message, frozen=True):
    """Open the storage file again; answer with `Ack` once it is open."""

    number: int


class Leave(Message, frozen=True):
    """
    Send nothing more on this connection; answer with `Collected`, the last message.

    The worker may end before the next writer is there: its counters would be lost.
    """

    number: int


class Ack(Message, frozen=True):
    """The message `number` was carried out."""

    number: int


class Gather(Message, frozen=True):
    """Collect the metrics of all others; those of this process are in it."""

    number: int
    snapshot: bytes


class Collect(Message, frozen=True):
    """A request for metrics: answer with `Collected`."""

    number: int


class Collected(Message, frozen=True):
    """The metrics of this process."""

    number: int
    snapshot: bytes


class Gathered(Message, frozen=True):
    """The metrics of all other processes, in response to `Gather`."""

    number: int
    snapshots: list[bytes]


FromWorker = Hello | Submit | Idle | Ack | Gather | Collected
FromWriter = (
    Welcome
    | Outcomes
    | Fresh
    | Evict
    | CloseFile
    | OpenFile
    | Leave
    | Collect
    | Gathered
)


def refused(error: Exception) -> Refused:
    """Return `error` as a message; other exceptions become `StorageFailedError`."""
    if not isinstance(error, AsciidError):
        error = StorageFailedError()
    kind = type(error)
    return Refused(
        kind.__name__,
        {name: getattr(error, name) for name in inspect.signature(kind).parameters},
    )
