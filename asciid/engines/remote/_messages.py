"""
What the workers and the process that writes say to each other.

A message is MessagePack behind its length, which is four bytes, the first of them
the most significant.  Either end says first which version it speaks; nobody else
is at either end, as the socket is for its owner alone.
"""

from __future__ import annotations

import inspect
from typing import Literal

from msgspec import Struct

from asciid import errors
from asciid.errors import AsciidError, StorageFailedError
from asciid.store.operations import AnyOperation, Completed, Outcome

__all__ = [
    "VERSION",
    "Ack",
    "Collect",
    "Collected",
    "Forget",
    "Fresh",
    "FromWorker",
    "FromWriter",
    "Gather",
    "Gathered",
    "Hello",
    "HowToUse",
    "Idle",
    "Leave",
    "Outcomes",
    "Refused",
    "Submit",
    "Use",
    "Welcome",
    "refused",
]

HowToUse = Literal["shared", "closed"]
"""Whether to have the storage file open, as always, or closed."""

VERSION = 5
"""Raise it with every change to a message or an operation."""


class Message(Struct, frozen=True, array_like=True, tag=True):
    """Anything that is said."""


class Hello(Message, frozen=True):
    """The first message of a worker, which has a `name` of its own."""

    version: int
    name: str


class Welcome(Message, frozen=True):
    """
    The first thing that the writer says: it takes operations from now on.

    It says of every removal after so many `Generations.removals`.
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
    """The outcome of an operation that failed: an error and what it says."""

    error: str
    values: dict[str, bool | int | str]

    def exception(self) -> AsciidError:
        """Return the error, as the writer raised it."""
        kind: type[AsciidError] = getattr(errors, self.error)
        return kind(**self.values)


class Outcomes(Message, frozen=True):
    """What the operations of a `Submit` came to, in their order."""

    number: int
    outcomes: list[Outcome | Refused]


class Fresh(Message, frozen=True):
    """Small images that have become complete through another worker."""

    images: list[Completed]


class Forget(Message, frozen=True):
    """
    Images that were removed, to be kept in memory no longer; None is all.

    Before it the receiver has received all other removals, up to `removals`.
    """

    removals: int
    hashes: list[str] | None


class Use(Message, frozen=True):
    """
    How to use the storage file from now on; answer with `Ack` once that is so.

    ``shared`` is to have it open, as always; ``closed`` is not to have it open.
    """

    number: int
    how: HowToUse


class Leave(Message, frozen=True):
    """Send nothing more on this connection; answer with `Ack`, the last message."""

    number: int


class Ack(Message, frozen=True):
    """What message `number` asked for is done."""

    number: int


class Gather(Message, frozen=True):
    """Collect the metrics of all others; those of this process are in it."""

    number: int
    snapshot: bytes


class Collect(Message, frozen=True):
    """Tell what you have counted: answer with `Collected`."""

    number: int


class Collected(Message, frozen=True):
    """What this process has counted."""

    number: int
    snapshot: bytes


class Gathered(Message, frozen=True):
    """What all other processes have counted, as asked with `Gather`."""

    number: int
    snapshots: list[bytes]


FromWorker = Hello | Submit | Idle | Ack | Gather | Collected
FromWriter = Welcome | Outcomes | Fresh | Forget | Use | Leave | Collect | Gathered


def refused(error: Exception) -> Refused:
    """Return what to send of `error`; errors of others all become one."""
    if not isinstance(error, AsciidError):
        error = StorageFailedError()
    kind = type(error)
    return Refused(
        kind.__name__,
        {name: getattr(error, name) for name in inspect.signature(kind).parameters},
    )
