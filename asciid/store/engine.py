"""
The interface of engines, which apply operations and answer queries of the store.

The store caches, verifies large images and expires; an engine carries out each
operation as a whole or not at all, and enforces the rules (404, 409, 422, limits).
There is one store, and several engines: a file, memory, another process, perhaps a
database.  CONTRIBUTING.md describes how to add one.

`asciid.store.operations` and `asciid.store.queries` define these,
`asciid.store.rules` and `asciid.store.pending` rules that all of them apply.
"""

# ruff: noqa: N805 - zope.interface shows methods as callers see them, without self

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from zope.interface import Attribute, Interface

from asciid.store.operations import all_outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred

    from asciid.store.operations import AnyOperation, Completed
    from asciid.store.queries import Query
    from asciid.store.stats import StoreHealth, StoreStats

__all__ = ["ApplyOperations", "IEngine", "StorageInUseError"]

AnswerT = TypeVar("AnswerT")


class ApplyOperations(Protocol):
    """The type of `IEngine.apply`."""

    def __call__(
        self,
        operations: Sequence[AnyOperation],
        then: Callable[[Sequence[Any]], Any] = all_outcomes,
        /,
    ) -> Deferred[Any]:
        """See `IEngine.apply`."""


class StorageInUseError(OSError):
    """Another process owns the storage; the text names it."""


class IEngine(Interface):
    """
    Keeps images.

    All methods are called in the reactor's thread, and none may block it: work that
    takes longer than 0.3 ms, and all that waits for a disk, belongs in a thread or in
    another process.  Any Deferred may be cancelled; accepted work is carried out
    all the same.

    Time is the engine's: it stamps what it stores, and queries and operations give
    ages in seconds.  However the system's clock is set while the engine runs, nothing
    may age by more than the time that has passed.

    Abilities of only some engines, such as compaction, are not in this interface but in
    one of their own, which is passed to code that needs it.
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
        Open the storage, creating it if it does not exist.

        `on_removed` is called with the hashes of complete images that were removed,
        on request or because they have expired; with None if any may have been.  That
        is before the reactor's turn ends in which the outcome of the removal arrives,
        and after `on_completed` and the outcomes of the same batch.
        Until then `removals_known` is false wherever the removal may be seen.

        `on_completed` is called with images that became complete through another
        process, if the engine receives them.

        Errors: `StoreVersionError`, `OSError`.
        """

    def drain() -> Deferred[None]:
        """
        Begin to stop; fires once all accepted work is done or has failed.

        Long work of the engine's own is aborted.  Work that follows from the outcomes
        is still accepted.
        """

    def stop() -> Deferred[None]:
        """Finish accepted work, then close.  Nothing is accepted after."""

    def apply(
        operations: Sequence[AnyOperation],
        then: Callable[[Sequence[Any]], Any] = all_outcomes,
    ) -> Deferred[Any]:
        """
        Carry operations out, in order; fires once they are committed.

        There is one outcome for each operation: an `Outcome`, or the exception that the
        operation failed with, which has no effect on the others.  A commit that fails
        is the outcome of all that were in it: `StorageFailedError`,
        `CommitFailedError`, `StorageFullError`.  Outcomes arrive in the order of the
        calls.

        `then` is called with the outcomes, even if the Deferred was cancelled; by
        default it returns them.  The Deferred fires with its result, or its exception.
        That may be a Failure, or another Deferred (none of a subclass), which is
        awaited then and never cancelled.

        An image is complete only after its SHA-256 was checked over the bytes that
        are stored.  An engine may answer the last chunk of an image with `Unverified`.

        Errors: `StoreBusyError` if too much is waiting already, `StoreClosedError`;
        none of the operations was accepted then.
        """

    def ask(query: Query[AnswerT]) -> Deferred[AnswerT]:
        """
        Answer from a state with all operations acknowledged before the call.

        Errors: those of the query, `StorageUnreadableError`, `StoreBusyError`,
        `StoreClosedError`.
        """

    def tidy() -> Deferred[None]:
        """
        Do the housekeeping of the engine's own; it is called periodically.

        Errors: those of an operation.
        """

    def health() -> StoreHealth:
        """
        Return whether the engine can do its work, at once and in any state.

        A call starts a probe, at most once a second, for later calls.
        """

    def stats() -> StoreStats:
        """Return counts of events and of waiting work; the store adds its cache."""
