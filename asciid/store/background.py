"""Work that cancellation does not end, and that a stop waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, DeferredList

from asciid.errors import AsciidError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from twisted.python.failure import Failure

__all__ = ["Background", "InBackground"]

ResultT = TypeVar("ResultT")


class InBackground(Protocol):
    """Does work that cancelling the Deferred does not end: `Background.run`."""

    def __call__(
        self, work: Coroutine[Deferred[Any], Any, ResultT]
    ) -> Deferred[ResultT]:
        """Begin `work`."""


class Background:
    """The work under way."""

    def __init__(self) -> None:
        self._under_way: set[Deferred[None]] = set()

    def run(self, work: Coroutine[Deferred[Any], Any, ResultT]) -> Deferred[ResultT]:
        """Begin `work`; cancelling the Deferred does not end it."""
        answer: Deferred[ResultT] = Deferred()
        ended: Deferred[None] = Deferred()
        self._under_way.add(ended)

        async def tracked() -> ResultT:
            try:
                return await work
            finally:
                self._under_way.discard(ended)
                ended.callback(None)

        def failed(failure: Failure) -> None:
            if failure.check(AsciidError):
                # Its frames refer to `answer`, which may keep the failure: a cycle.
                failure.cleanFailure()
            answer.errback(failure)

        Deferred.fromCoroutine(tracked()).addCallbacks(answer.callback, failed)
        return answer

    async def wait(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            await DeferredList(list(self._under_way))
