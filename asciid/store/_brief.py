"""Small questions to the storage file, several at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from asciid.errors import AsciidError, StorageFailedError, StoreBusyError
from asciid.store._frames import forget_tracebacks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asciid.store._databases import Snapshot
    from asciid.store._submit import Query
    from asciid.store._writer import IWriterReactor

__all__ = ["BriefQueries"]

ResultT = TypeVar("ResultT")

MAX_WAITING = 16_384
"""Questions that may wait for the end of a turn of the reactor."""


class BriefQueries:
    """
    Asks what comes in one turn of the reactor in one thread and one transaction.

    To hand a question over to a thread, and its answer back, costs far more than
    to find a small image.  What takes longer is better asked with `query`, the
    store's own: here it would hold others up.
    """

    def __init__(self, query: Query, reactor: IWriterReactor) -> None:
        self._query = query
        self._reactor = reactor
        self._waiting: list[tuple[Callable[[Snapshot], Any], Deferred[Any]]] = []

    def ask(self, question: Callable[[Snapshot], ResultT]) -> Deferred[ResultT]:
        """
        Answer `question`.

        Errors: those of `question`, and of `query`.
        """
        if len(self._waiting) >= MAX_WAITING:
            return fail(StoreBusyError())
        if not self._waiting:
            self._reactor.callLater(0, self._ask_all)
        answer: Deferred[ResultT] = Deferred()
        self._waiting.append((question, answer))
        return answer

    def _ask_all(self) -> None:
        waiting, self._waiting = self._waiting, []

        def answer_all(snapshot: Snapshot) -> Sequence[Any]:
            return [_outcome(question, snapshot) for question, _ in waiting]

        def answered(outcomes: Sequence[Any]) -> None:
            for (_, answer), outcome in zip(waiting, outcomes, strict=True):
                if isinstance(outcome, AsciidError):
                    answer.errback(Failure(outcome))
                else:
                    answer.callback(outcome)

        def failed(failure: Failure) -> None:
            if len(waiting) > 1 and failure.check(StorageFailedError):
                # What one of them met, a damaged page perhaps, ends the transaction
                # of all.
                for question, answer in waiting:
                    self._query(question).addCallbacks(answer.callback, answer.errback)
                return
            for _, answer in waiting:
                answer.errback(failure)

        self._query(answer_all).addCallbacks(answered, failed)


def _outcome(question: Callable[[Snapshot], Any], snapshot: Snapshot) -> Any:  # noqa: ANN401 - the question's
    try:
        return question(snapshot)
    except AsciidError as error:
        forget_tracebacks(error)
        return error
