"""
What carries out the operations and answers the queries of the image store.

`asciid.store` has the rules, the cache and the follow-ups; an engine has the bytes.
There is one store, and several engines: a file, memory, another process, perhaps a
database.  CONTRIBUTING.md says how to add one.

`asciid.store.operations` and `asciid.store.queries` have what an engine is asked for,
`asciid.store.rules` and `asciid.store.pending` rules that all of them apply.
"""

# ruff: noqa: N805 - zope.interface shows methods as callers see them, without self

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred

    from asciid.store.operations import AnyOperation, Completed
    from asciid.store.queries import Query
    from asciid.store.stats import StoreHealth, StoreStats

__all__ = ["IEngine", "StorageInUseError"]

AnswerT = TypeVar("AnswerT")


class StorageInUseError(OSError):
    """Another process has what is stored; the text names it."""


class IEngine(Interface):
    """
    Where images are kept.

    All methods are called in the reactor's thread, and none may block it: work that
    takes longer than 0.3 ms, and all that waits for a disk, belongs in a thread or in
    another process.  Any Deferred may be cancelled; what was accepted is carried out
    all the same.

    Time is the engine's: it stamps what it stores, and queries and operations give
    ages in seconds.  However the system's clock is set while the engine runs, nothing
    may age by more than the time that has passed.

    What only some engines can do, such as to compact a file, is not in this interface
    but in one of its own, which is given to those that need it.
    """

    removals_known: bool = Attribute(
        "Whether `on_removed` was called for every removal that was committed. "
        "While it is not, the store serves nothing from memory. It is read for every "
        "image that is served from memory."
    )

    def start(
        on_removed: Callable[[Sequence[str] | None], object],
        on_completed: Callable[[Sequence[Completed]], object],
    ) -> Deferred[None]:
        """
        Open what is stored, creating it where it does not exist.

        `on_removed` is called with the hashes of complete images that were removed,
        on request or because they have expired; with None if any may have been.  That
        is before the reactor's turn ends in which the outcome of the removal arrives,
        and after `on_completed` and the outcomes of what the same batch completed.
        Until then `removals_known` is false wherever the removal may be seen.

        `on_completed` is called with images that became complete through another
        process, if the engine happens to learn of them.

        Errors: `StoreVersionError`, `OSError`.
        """

    def drain() -> Deferred[None]:
        """
        Begin to stop; fires once all that was accepted so far is done or has failed.

        Work of the engine's own that takes long is given up.  What follows from the
        outcomes is still accepted.
        """

    def stop() -> Deferred[None]:
        """Finish what was accepted, then close.  Nothing is accepted after."""

    def apply(operations: Sequence[AnyOperation]) -> Deferred[Sequence[Any]]:
        """
        Carry operations out, in order; fires once they are committed.

        The result has one outcome for each operation: an `Outcome`, or the exception
        that the operation failed with, which has no effect on the others.  A commit
        that fails is the outcome of all that were in it: `StorageFailedError`,
        `StorageFullError`.  Outcomes arrive in the order of the calls.

        An image is complete only after its SHA-256 was checked over the bytes that
        are stored.  An engine may answer the last chunk of an image with `Unverified`.

        Errors: `StoreBusyError` if too much is waiting already, `StoreClosedError`;
        none of the operations was accepted then.
        """

    def ask(query: Query[AnswerT]) -> Deferred[AnswerT]:
        """
        Answer from a state that has all that was acknowledged before the call.

        Errors: those of the query, `StorageFailedError`, `StoreBusyError`,
        `StoreClosedError`.
        """

    def tidy() -> Deferred[None]:
        """
        Do the housekeeping of the engine's own; it is called from time to time.

        Errors: those of an operation.
        """

    def health() -> StoreHealth:
        """
        Return whether the engine can do its work, at once and in any state.

        Asking has it tried again, at most once a second, for those who ask later.
        """

    def stats() -> StoreStats:
        """Return what happened and what waits; nothing of the store's own cache."""
