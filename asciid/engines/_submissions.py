"""Operations that were submitted together, and the delivery of their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Submission", "deliver"]

OperationT = TypeVar("OperationT")


class Submission(Struct, Generic[OperationT], eq=False):
    """The operations of one call of `IEngine.apply`."""

    operations: Sequence[OperationT]
    size: int
    """The bytes of memory that they hold while they wait."""
    then: Callable[[Sequence[Any]], Any]
    """See `IEngine.apply`."""
    done: Deferred[Any] = field(default_factory=Deferred)
    """The result of that call."""


def deliver(submissions: Iterable[Submission[Any]], outcomes: Sequence[Any]) -> None:
    """Deliver the outcomes of all operations, in their order."""
    first = 0
    for one in submissions:
        after = first + len(one.operations)
        try:
            result = one.then(outcomes[first:after])
        except Exception:  # noqa: BLE001 - delivered to the caller
            result = Failure()
        # Deferred is an ABC, of which isinstance() is slow.
        if type(result) is Deferred:
            # Not chained: cancelling the one would cancel the other.
            result.addBoth(one.done.callback)
        else:
            one.done.callback(result)
        first = after
