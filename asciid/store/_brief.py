"""Coalesces short queries: those of one turn of the reactor are sent as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from asciid.errors import AsciidError, StorageFailedError, StoreBusyError
from asciid.store.queries import Several

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asciid.store.queries import Query

__all__ = ["BriefQueries", "ICallLater"]

AnswerT = TypeVar("AnswerT")

MAX_WAITING = 16_384
"""Queries that may wait for the end of a turn of the reactor."""


class ICallLater(Protocol):
    """The required method of the reactor."""

    def callLater(
        self, delay: float, call: Callable[..., object], /, *args: object
    ) -> object: ...


class BriefQueries:
    """
    Sends the queries of one turn of the reactor to the engine as one.

    Handing a query to a thread, and its answer back, costs far more than finding a
    small image.  A query that takes longer should use the engine's `ask`: here it would
    delay others.
    """

    def __init__(
        self, ask: Callable[[Query[Any]], Deferred[Any]], reactor: ICallLater
    ) -> None:
        self._ask = ask
        self._reactor = reactor
        self._waiting: list[tuple[Query[Any], Deferred[Any]]] = []

    def ask(self, query: Query[AnswerT]) -> Deferred[AnswerT]:
        """
        Answer `query`.

        Errors: those of the query and of `IEngine.ask`.
        """
        if len(self._waiting) >= MAX_WAITING:
            return fail(StoreBusyError())
        answer: Deferred[AnswerT] = Deferred()
        self._waiting.append((query, answer))
        if len(self._waiting) == 1:
            self._reactor.callLater(0, self._ask_all)
        return answer

    def _ask_all(self) -> None:
        waiting, self._waiting = self._waiting, []

        def answered(outcomes: Sequence[Any]) -> None:
            for (_, answer), outcome in zip(waiting, outcomes, strict=True):
                if isinstance(outcome, AsciidError):
                    answer.errback(Failure(outcome))
                else:
                    answer.callback(outcome)

        def failed(failure: Failure) -> None:
            if len(waiting) > 1 and failure.check(StorageFailedError):
                # One of them, which met a damaged page perhaps, failed them all.
                for query, answer in waiting:
                    self._ask(query).addCallbacks(answer.callback, answer.errback)
                return
            for _, answer in waiting:
                answer.errback(failure)

        queries = Several([query for query, _ in waiting])
        self._ask(queries).addCallbacks(answered, failed)
