"""What the parts of a store are handed of it, to ask and to change with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twisted.internet.defer import Deferred

    from asciid.store._batch import Batch
    from asciid.store._databases import Snapshot
    from asciid.store._operations import AnyOperation

__all__ = ["Change", "InBackground", "Query", "Submit"]

ResultT = TypeVar("ResultT")


class Query(Protocol):
    """Asks the storage file, in a thread."""

    def __call__(self, query: Callable[[Snapshot], ResultT]) -> Deferred[ResultT]:
        """Answer `query`."""


class Submit(Protocol):
    """Has an operation carried out, as `FileWriter.submit`."""

    def __call__(
        self, operation: Callable[[Batch], ResultT], size: int = 0
    ) -> Deferred[ResultT]:
        """Queue `operation`, which holds `size` bytes."""


class Change(Protocol):
    """Has an operation carried out, perhaps by another process."""

    def __call__(self, operation: AnyOperation) -> Deferred[Any]:
        """Queue `operation`; answer its outcome once that is committed."""


class InBackground(Protocol):
    """Does work that goes on whoever cancels the Deferred."""

    def __call__(
        self, work: Coroutine[Deferred[Any], Any, ResultT]
    ) -> Deferred[ResultT]:
        """Begin `work`."""
