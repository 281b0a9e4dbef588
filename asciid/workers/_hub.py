"""The workers, as the process that writes sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec
from attrs import define
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from asciid.store.sharing import Completed, Remove, StorageInUseError
from asciid.workers._framing import MessageProtocol
from asciid.workers._messages import (
    VERSION,
    Ack,
    Collect,
    Collected,
    Forget,
    Fresh,
    FromWorker,
    Gather,
    Gathered,
    Hello,
    Leave,
    Outcomes,
    Submit,
    Use,
    Welcome,
    refused,
)
from asciid.workers._told import Told

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IAddress, IDelayedCall
    from twisted.python.failure import Failure

    from asciid.store.sharing import AnyOperation
    from asciid.workers._messages import FromWriter

__all__ = ["Hub", "IWritingStore"]

PATIENCE = 10.0
"""Seconds for a worker to answer; then its connection is cut."""

GATHERING = 5.0
"""Seconds from the first worker on in which the others are expected to come."""

LEAVING = 2.0
"""
Seconds for a worker to answer when this process leaves.

The others wait meanwhile, for not much longer than that and a start.
"""

_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(FromWorker)
_log = Logger()

_Connection = MessageProtocol


class IWritingStore(Protocol):
    """The store that carries operations out."""

    def change_all(self, operations: Sequence[AnyOperation]) -> Deferred[Sequence[Any]]:
        """See `LMDBStore.change_all`."""


@define(eq=False)
class _Question:
    """Something that all workers were asked, and who has not answered yet."""

    open: set[_Connection]
    done: Deferred[_Question]
    watch: IDelayedCall | None = None
    unanswered: bool = False


class Hub(Factory):
    """
    Carries out what workers ask for, and tells them what they must know.

    Set `store` and `snapshot`, which returns what this process has counted, before
    anybody connects.  `clock` provides IReactorTime.  Figures are told once `expected`
    workers have come, or would have: those of a few are less than what was told before.
    """

    noisy = False
    store: IWritingStore
    snapshot: Callable[[], Deferred[bytes]]

    def __init__(self, clock: Any, expected: int = 1) -> None:  # noqa: ANN401 - IReactorTime
        self._clock = clock
        self._expected = expected
        self._patient_until: float | None = None
        """When no more workers are waited for; None before the first."""
        self._workers: set[_Connection] = set()
        self._names: dict[_Connection, str] = {}
        self._told = Told()
        # Those that come while the file may not be used.
        self._kept_waiting: list[_Connection] = []
        self._use = "shared"
        self._questions: dict[int, _Question] = {}
        self._last_number = 0
        self._empty: list[Deferred[None]] = []

    def buildProtocol(self, _: IAddress | None) -> _Connection:
        """Return the protocol of a new connection."""
        return MessageProtocol(_decoder, self)

    @property
    def workers(self) -> int:
        """How many workers are connected."""
        return len(self._workers)

    def made(self, connection: _Connection) -> None:
        """See `IEnd.made`: the worker speaks first."""

    def received(self, connection: _Connection, message: FromWorker) -> None:
        """See `IEnd.received`."""
        if connection not in self._workers and type(message) is not Hello:
            # What it means, only who speaks this version can be asked.
            error = "it came before a Hello in the version that is spoken here"
            raise ValueError(error)
        match message:
            case Submit():
                self._submit(connection, message)
            case Ack(number=number):
                self._answered(connection, number)
            case Collected(number=number, snapshot=snapshot):
                self._told.note(self._names[connection], snapshot)
                self._answered(connection, number)
            case Gather(number=number, snapshot=snapshot):
                self._told.note(self._names[connection], snapshot)
                self._gather(connection, number)
            case Hello(version=version, name=name):
                self._names[connection] = name
                self._greet(connection, version)

    def lost(self, connection: _Connection) -> None:
        """See `IEnd.lost`."""
        self._workers.discard(connection)
        if connection in self._kept_waiting:
            self._kept_waiting.remove(connection)
        for question in list(self._questions.values()):
            if connection in question.open:
                question.unanswered = True
                self._closed(question, connection)
        if not self._workers:
            empty, self._empty = self._empty, []
            for waiting in empty:
                waiting.callback(None)
        self._told.end(self._names.pop(connection, ""))

    def forget(self, hashes: Sequence[str]) -> Deferred[None]:
        """
        Have all workers forget images; answer once they have.

        One that does not answer is cut off, and forgets everything before it
        connects again.
        """
        return self._ask(lambda number: Forget(number, list(hashes))).addCallback(
            lambda _: None
        )

    def use(self, how: Literal["shared", "yielded", "closed"]) -> Deferred[None]:
        """
        Have all workers use the storage file like that; see `Use`.

        Errors: `StorageInUseError` if one does not answer.
        """
        self._use = how

        def used(question: _Question) -> None:
            if how == "shared":
                kept_waiting, self._kept_waiting = self._kept_waiting, []
                for connection in kept_waiting:
                    self._welcome(connection)
            elif question.unanswered:
                message = "a worker does not let go of the storage"
                raise StorageInUseError(message)

        return self._ask(lambda number: Use(number, how)).addCallback(used)

    def dismiss(self) -> Deferred[None]:
        """Have all workers send nothing more; answer once they have stopped."""
        return self._ask(Leave, patience=LEAVING).addCallback(lambda _: None)

    def disconnect(self) -> None:
        """Close all connections, once what was written to them is sent."""
        for connection in [*self._workers, *self._kept_waiting]:
            connection.close()

    def wait_until_empty(self) -> Deferred[None]:
        """Answer once no worker is connected."""
        if not self._workers:
            return succeed(None)
        empty: Deferred[None] = Deferred(self._empty.remove)
        self._empty.append(empty)
        return empty

    def _greet(self, connection: _Connection, version: int) -> None:
        if version != VERSION:
            _log.error(
                "A worker speaks version {theirs}, and this process {ours}",
                theirs=version,
                ours=VERSION,
            )
            # It is told which version is spoken here, and ends the connection.
            connection.send(Welcome(VERSION))
        elif self._use == "shared":
            self._welcome(connection)
        else:
            self._kept_waiting.append(connection)

    def _welcome(self, connection: _Connection) -> None:
        self._workers.add(connection)
        if self._patient_until is None:
            self._patient_until = self._clock.seconds() + GATHERING
        if len(self._workers) >= self._expected:
            self._expected = 0  # they have been there
        connection.send(Welcome(VERSION))

    def _submit(self, connection: _Connection, message: Submit) -> None:
        operations = message.operations

        def answer(outcomes: Sequence[Any]) -> None:
            connection.send(
                Outcomes(
                    message.number,
                    [
                        refused(outcome) if isinstance(outcome, Exception) else outcome
                        for outcome in outcomes
                    ],
                )
            )

        def committed(outcomes: Sequence[Any]) -> None:
            removed, completed = [], []
            for operation, outcome in zip(operations, outcomes, strict=True):
                if type(outcome) is Completed and outcome.content is not None:
                    completed.append(outcome.spec.sha256)
                elif type(operation) is Remove and not isinstance(outcome, Exception):
                    removed.append(operation.sha256)
            if completed:
                self._tell_others(connection, Fresh(completed))
            if removed:
                # Who is told that an image is gone finds it nowhere.
                self.forget(removed).addCallback(lambda _: answer(outcomes))
            else:
                answer(outcomes)

        def failed(failure: Failure) -> None:
            answer([failure.value] * len(operations))

        self.store.change_all(operations).addCallbacks(committed, failed)

    def _tell_others(self, connection: _Connection, message: FromWriter) -> None:
        for other in self._workers:
            # It saves time, no more: for one that hangs it must not pile up.
            if other is not connection and not other.is_slow:
                other.send(message)

    def _gather(self, asking: _Connection, number: int) -> None:
        """Ask all but one what they have counted, and tell it."""
        if self._expected and self._clock.seconds() < (self._patient_until or 0):
            asking.send(Gathered(number, []))
            return

        async def gathered() -> list[bytes]:
            name = self._names[asking]
            await self._ask(Collect, self._workers - {asking})
            return [await self.snapshot(), *self._told.others(name)]

        def unknown(failure: Failure) -> None:
            _log.failure("Nothing was gathered", failure)
            asking.send(Gathered(number, []))

        Deferred.fromCoroutine(gathered()).addCallbacks(
            lambda snapshots: asking.send(Gathered(number, snapshots)),
            unknown,
        )

    def _ask(
        self,
        message: Callable[[int], FromWriter],
        whom: set[_Connection] | None = None,
        patience: float = PATIENCE,
    ) -> Deferred[_Question]:
        """
        Send a message to workers, all if None; answer once they have answered.

        Those that do not within `patience` seconds are cut off.
        """
        whom = set(self._workers if whom is None else whom)
        done: Deferred[_Question] = Deferred()
        question = _Question(whom, done)
        if not whom:
            done.callback(question)
            return done
        self._last_number += 1
        number = self._last_number
        self._questions[number] = question
        question.watch = self._clock.callLater(patience, self._cut_off, question)
        done.addBoth(self._settled, number, question)
        asked = message(number)
        for connection in whom:
            connection.send(asked)
        return done

    def _settled(self, outcome: Any, number: int, question: _Question) -> Any:  # noqa: ANN401 - handed through
        del self._questions[number]
        if question.watch is not None and question.watch.active():
            question.watch.cancel()
        return outcome

    def _answered(self, connection: _Connection, number: int) -> None:
        question = self._questions.get(number)
        if question is not None:
            self._closed(question, connection)

    def _closed(self, question: _Question, connection: _Connection) -> None:
        question.open.discard(connection)
        if not question.open and not question.done.called:
            question.done.callback(question)

    def _cut_off(self, question: _Question) -> None:
        for connection in list(question.open):
            _log.error("A worker does not answer and is cut off")
            connection.abort()
