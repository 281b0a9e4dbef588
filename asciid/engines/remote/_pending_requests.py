"""Sends requests to workers and waits for their responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from asciid.engines.remote._framing import MessageProtocol
    from asciid.engines.remote._messages import FromWriter

__all__ = ["ANSWER_TIMEOUT", "PendingRequests"]

ANSWER_TIMEOUT = 10.0
"""Seconds for a worker to answer; then its connection is cut."""

_log = Logger()


@define(eq=False)
class _PendingRequest:
    """A request, and the workers that have not answered yet."""

    open: set[MessageProtocol]
    done: Deferred[bool]
    watch: IDelayedCall
    unanswered: bool = False


class PendingRequests:
    """The requests without a response; `clock` provides IReactorTime."""

    def __init__(
        self,
        clock: IReactorTime,
        send: Callable[[Iterable[MessageProtocol], FromWriter], None],
    ) -> None:
        self._clock = clock
        self._send = send
        self._open: dict[int, _PendingRequest] = {}
        self._last_number = 0

    def send(
        self,
        workers: Iterable[MessageProtocol],
        message: Callable[[int], FromWriter],
        timeout: float = ANSWER_TIMEOUT,
        *,
        cut_off: bool = True,
    ) -> Deferred[bool]:
        """
        Send workers a message with a number; fires once they have answered it.

        Workers that do not within `timeout` seconds are disconnected, or without
        `cut_off` skipped.  The result is whether all have answered.
        """
        waiting = set(workers)
        if not waiting:
            return succeed(True)  # noqa: FBT003 - the result
        self._last_number += 1
        number = self._last_number
        done: Deferred[bool] = Deferred()
        overdue = self._cut_off if cut_off else self._go_on_without
        watch = self._clock.callLater(timeout, overdue, number)
        self._open[number] = _PendingRequest(waiting, done, watch)
        self._send(waiting, message(number))
        return done

    @property
    def unresponsive(self) -> set[MessageProtocol]:
        """Workers that owe an answer which is not awaited any more."""
        return {
            connection
            for request in self._open.values()
            if request.done.called
            for connection in request.open
        }

    def answered(self, connection: MessageProtocol, number: int) -> None:
        """Handle the answer of a worker; it may be too late."""
        if number in self._open:
            self._close(number, connection)

    def lost(self, connection: MessageProtocol) -> None:
        """Handle the end of a worker's connection."""
        for number, request in list(self._open.items()):
            if connection in request.open:
                request.unanswered = True
                self._close(number, connection)

    def _close(self, number: int, connection: MessageProtocol) -> None:
        request = self._open[number]
        request.open.discard(connection)
        if not request.open:
            del self._open[number]
            if request.watch.active():
                request.watch.cancel()
            if not request.done.called:
                request.done.callback(not request.unanswered)

    def _go_on_without(self, number: int) -> None:
        self._open[number].done.callback(False)  # noqa: FBT003 - the result

    def _cut_off(self, number: int) -> None:
        for connection in list(self._open[number].open):
            _log.error("disconnecting a worker that does not answer")
            connection.abort()
