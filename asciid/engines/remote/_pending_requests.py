"""What the process that writes asks of workers, and waits for."""

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

__all__ = ["PATIENCE", "PendingRequests"]

PATIENCE = 10.0
"""Seconds for a worker to answer; then its connection is cut."""

_log = Logger()


@define(eq=False)
class _Question:
    """Something that workers were asked, and who has not answered yet."""

    open: set[MessageProtocol]
    done: Deferred[bool]
    watch: IDelayedCall
    unanswered: bool = False


class PendingRequests:
    """Those without an answer; `clock` provides IReactorTime, `send` sends one."""

    def __init__(
        self,
        clock: IReactorTime,
        send: Callable[[Iterable[MessageProtocol], FromWriter], None],
    ) -> None:
        self._clock = clock
        self._send = send
        self._open: dict[int, _Question] = {}
        self._last_number = 0

    def ask(
        self,
        whom: Iterable[MessageProtocol],
        message: Callable[[int], FromWriter],
        patience: float = PATIENCE,
        *,
        cut_off: bool = True,
    ) -> Deferred[bool]:
        """
        Send workers a message with a number; answer once they have answered it.

        Those that do not within `patience` seconds are cut off, or without `cut_off`
        not waited for.  The result is whether all have answered.
        """
        asked = set(whom)
        if not asked:
            return succeed(True)  # noqa: FBT003 - the result
        self._last_number += 1
        number = self._last_number
        done: Deferred[bool] = Deferred()
        overdue = self._cut_off if cut_off else self._go_on_without
        watch = self._clock.callLater(patience, overdue, number)
        self._open[number] = _Question(asked, done, watch)
        self._send(asked, message(number))
        return done

    @property
    def silent(self) -> set[MessageProtocol]:
        """Those that owe an answer which is not waited for any more."""
        return {
            connection
            for question in self._open.values()
            if question.done.called
            for connection in question.open
        }

    def answered(self, connection: MessageProtocol, number: int) -> None:
        """Take note that a worker has answered; one that was cut off may, too."""
        if number in self._open:
            self._close(number, connection)

    def lost(self, connection: MessageProtocol) -> None:
        """Take note that a worker will answer nothing more."""
        for number, question in list(self._open.items()):
            if connection in question.open:
                question.unanswered = True
                self._close(number, connection)

    def _close(self, number: int, connection: MessageProtocol) -> None:
        question = self._open[number]
        question.open.discard(connection)
        if not question.open:
            del self._open[number]
            if question.watch.active():
                question.watch.cancel()
            if not question.done.called:
                question.done.callback(not question.unanswered)

    def _go_on_without(self, number: int) -> None:
        self._open[number].done.callback(False)  # noqa: FBT003 - the result

    def _cut_off(self, number: int) -> None:
        for connection in list(self._open[number].open):
            _log.error("A worker does not answer and is cut off")
            connection.abort()
