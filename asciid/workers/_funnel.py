"""A worker's way to the process that writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import msgspec
from attrs import define, field
from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from asciid.errors import StoreBusyError, StoreClosedError, WriterGoneError
from asciid.workers._framing import MessageProtocol
from asciid.workers._messages import (
    VERSION,
    Ack,
    Collect,
    Collected,
    Forget,
    Fresh,
    FromWriter,
    Gather,
    Gathered,
    Hello,
    Idle,
    Leave,
    Outcomes,
    Refused,
    Submit,
    Use,
    Welcome,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.interfaces import IAddress, IDelayedCall
    from twisted.python.failure import Failure

    from asciid.store.sharing import AnyOperation, Completed
    from asciid.store.sharing import Use as HowToUse

__all__ = ["Funnel", "IFollower"]

PATIENCE = 5.0
"""Seconds for which an operation waits while nobody writes."""

MESSAGE_BYTES = 1024 * 1024
"""Bytes of images in one message, unless a single operation has more."""

UNANSWERED_BYTES = 4 * 1024 * 1024
"""
Bytes of images at most that are sent before the answers to earlier ones are here.

Of each there are copies on both sides of the socket; of what waits there is one.
"""

_UNASKED = 0
"""The number of a message that answers no other one."""

_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(FromWriter)
_log = Logger()

_Connection = MessageProtocol
_Waiting = tuple["AnyOperation", int, Deferred[Any]]
"""An operation, its size, and who waits for it."""


class IFollower(Protocol):
    """What does as the process that writes says."""

    def keep(self, images: Sequence[Completed]) -> None:
        """See `Fresh`."""

    def catch_up(self, removals: int) -> None:
        """See `Welcome`."""

    def forget(self, removals: int, hashes: Sequence[str] | None) -> None:
        """See `Forget`."""

    def lose(self) -> None:
        """Receive nothing more, until the next `catch_up`."""

    def use(self, how: HowToUse) -> Deferred[None]:
        """See `Use`."""

    def snapshot(self) -> Deferred[bytes]:
        """Return what this process has counted."""

    def counters(self) -> bytes:
        """Return the part of that which is known at once, and lasts."""


@define(eq=False)
class Funnel:
    """
    Hands operations to the process that writes, and tells what they came to.

    What is submitted in one turn of the reactor, or the next, goes in one message,
    or a few if it is much.  When the connection is lost, what was sent on it fails:
    whether it was carried out is not known.  What was not sent yet waits for the
    next connection, for `PATIENCE` seconds at the most.

    `path` is the name of the socket, `reactor` provides IReactorUNIX and
    IReactorTime.  At most `max_operations` operations that hold `max_bytes` bytes
    are under way at a time, or a single one that holds more.  At most `max_unanswered`
    bytes of them are with the process that writes, or one message.  Set `follower`
    before `start`.
    """

    path: str
    reactor: Any
    max_operations: int = 16_384
    max_bytes: int = 64 * 1024 * 1024
    max_unanswered: int = UNANSWERED_BYTES
    follower: IFollower = field(init=False)
    _service: ClientService = field(init=False)
    _connection: _Connection | None = field(init=False, default=None)
    """Where operations are sent; None while nobody takes any."""
    _waiting: list[_Waiting] = field(init=False, factory=list)
    _sent: dict[int, Sequence[_Waiting]] = field(init=False, factory=dict)
    _gathering: dict[int, Deferred[list[bytes]]] = field(init=False, factory=dict)
    _unanswered: int = field(init=False, default=0)
    """Bytes of the operations that were sent."""
    _operations: int = field(init=False, default=0)
    _bytes: int = field(init=False, default=0)
    _name: str = field(init=False, factory=lambda: uuid4().hex)
    _last_number: int = field(init=False, default=0)
    _scheduled: bool = field(init=False, default=False)
    _watch: IDelayedCall | None = field(init=False, default=None)
    _given_up: bool = field(init=False, default=False)
    _connected: Deferred[None] = field(init=False, factory=Deferred)
    _stopping: Deferred[None] | None = field(init=False, default=None)

    @_service.default
    def _(self) -> ClientService:
        return ClientService(
            UNIXClientEndpoint(self.reactor, self.path),
            _ConnectionFactory(self),
            retryPolicy=lambda attempt: min(0.02 * 2**attempt, 0.5),
            clock=self.reactor,
        )

    @property
    def waiting(self) -> tuple[int, int]:
        """The operations that are under way, and the bytes they hold."""
        return self._operations, self._bytes

    @property
    def is_connected(self) -> bool:
        """Whether operations are taken."""
        return self._connection is not None

    def start(self) -> Deferred[None]:
        """Connect; the Deferred fires once operations are taken."""
        self._service.startService()
        return self._connected

    def stop(self) -> Deferred[None]:
        """Take nothing more; answer once all that was taken is answered."""
        if self._stopping is None:
            self._stopping = Deferred()
            self._end_if_idle()
        return self._stopping

    def submit(self, operation: AnyOperation) -> Deferred[Any]:
        """
        Have `operation` carried out; answer its outcome once that is committed.

        Cancelling the Deferred does not take the operation back.

        Errors: those of the operation, `StoreBusyError` past a bound,
        `WriterGoneError`, `StoreClosedError` after `stop`.
        """
        if self._stopping is not None:
            return fail(StoreClosedError())
        if self._given_up:
            return fail(WriterGoneError())
        size = operation.size
        if (
            self._operations >= self.max_operations
            # What alone is past the bound is taken where nothing else has bytes.
            or (self._bytes + size > self.max_bytes and self._bytes and size)
        ):
            return fail(StoreBusyError())
        self._operations += 1
        self._bytes += size
        done: Deferred[Any] = Deferred()
        self._waiting.append((operation, size, done))
        self._schedule()
        return done

    def gather(self, told: bytes) -> Deferred[list[bytes]]:
        """
        Return what all other processes have counted, as far as they answer.

        `told` is what this one has.
        """
        if self._connection is None:
            return succeed([])
        self._last_number += 1
        gathered = self._gathering[self._last_number] = Deferred()
        self._connection.send(Gather(self._last_number, told))
        return gathered

    def made(self, connection: _Connection) -> None:
        """See `IEnd.made`."""
        connection.send(Hello(VERSION, self._name))

    def received(self, connection: _Connection, message: FromWriter) -> None:
        """See `IEnd.received`."""
        match message:
            case Outcomes():
                self._answered(message)
            case Fresh(images=images):
                self.follower.keep(images)
            case Welcome():
                self._welcomed(connection, message)
            case Forget(removals=removals, hashes=hashes):
                self.follower.forget(removals, hashes)
            case Use(number=number, how=how):
                self._use(connection, how, Ack(number))
            case Leave(number=number):
                self._pause()
                connection.send(Ack(number))
            case Collect(number=number):
                self._tell(connection, number)
            case Gathered(number=number, snapshots=snapshots):
                self._gathering.pop(number).callback(snapshots)

    def lost(self, connection: _Connection) -> None:
        """See `IEnd.lost`."""
        del connection
        self._pause()
        self.follower.lose()
        sent, self._sent = self._sent, {}
        self._unanswered = 0
        for operations in sent.values():
            self._fail(operations)
        gathering, self._gathering = self._gathering, {}
        for gathered in gathering.values():
            gathered.callback([])
        self._end_if_idle()

    def _welcomed(self, connection: _Connection, message: Welcome) -> None:
        if message.version != VERSION:
            _log.error(
                "The writer speaks version {theirs}, and this process {ours}",
                theirs=message.version,
                ours=VERSION,
            )
            connection.abort()
            return
        self.follower.catch_up(message.removals)
        # What was known of the file may have changed with the one who writes it.
        self._use(connection, "shared", None)

    def _use(self, connection: _Connection, how: HowToUse, answer: Ack | None) -> None:
        def used(_: None) -> None:
            if answer is None:
                self._resume(connection)
            else:
                connection.send(answer)

        def failed(failure: Failure) -> None:
            _log.error("The storage cannot be used: {error}", error=failure.value)
            # The next connection is the next try.
            connection.abort()

        self.follower.use(how).addCallbacks(used, failed)

    def _tell(self, connection: _Connection, number: int) -> None:
        def unknown(failure: Failure) -> None:
            _log.failure("What was counted cannot be told", failure)
            # Whoever does not answer at all is cut off.
            connection.send(Ack(number))

        self.follower.snapshot().addCallbacks(
            lambda snapshot: connection.send(Collected(number, snapshot)), unknown
        )

    def _resume(self, connection: _Connection) -> None:
        self._connection = connection
        self._given_up = False
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if not self._connected.called:
            self._connected.callback(None)
        self._flush()

    def _pause(self) -> None:
        self._connection = None
        if self._watch is None and self._stopping is None:
            self._watch = self.reactor.callLater(PATIENCE, self._give_up)

    def _give_up(self) -> None:
        self._watch = None
        self._given_up = True
        _log.error("Nobody writes: what waits to be written is refused")
        waiting, self._waiting = self._waiting, []
        self._fail(waiting)

    def _schedule(self) -> None:
        if not self._scheduled and self._connection is not None:
            self._scheduled = True
            # Not before the reactor has looked for what is new, which it does
            # between the two calls: what comes then shares the message.
            self.reactor.callLater(0, self.reactor.callLater, 0, self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if self._connection is None:
            return
        if not self._waiting:
            self._connection.send(Idle())
        while self._waiting and (
            not self._sent or self._unanswered < self.max_unanswered
        ):
            some = self._take_message()
            self._last_number += 1
            self._sent[self._last_number] = some
            self._connection.send(
                Submit(self._last_number, [one for one, _, _ in some])
            )

    def _take_message(self) -> Sequence[_Waiting]:
        """Take the first operations that wait, as many as one message has."""
        count = total = 0
        largest = min(MESSAGE_BYTES, self.max_unanswered)
        for _, size, _ in self._waiting:
            total += size
            if count and total > largest:
                total -= size
                break
            count += 1
        self._unanswered += total
        some = self._waiting[:count]
        del self._waiting[:count]
        return some

    def _answered(self, message: Outcomes) -> None:
        sent = self._sent.pop(message.number)
        self._unanswered -= sum(size for _, size, _ in sent)
        for (_, size, done), outcome in zip(sent, message.outcomes, strict=True):
            self._forget_size(size)
            if type(outcome) is Refused:
                done.errback(outcome.exception())
            else:
                done.callback(outcome)
        # Those who were answered may have more to ask for, and the writer waits.
        self._schedule()
        if self._stopping is not None:
            self._end_if_idle()

    def _fail(self, operations: Sequence[_Waiting]) -> None:
        for _, size, done in operations:
            self._forget_size(size)
            done.errback(WriterGoneError())

    def _forget_size(self, size: int) -> None:
        self._operations -= 1
        self._bytes -= size

    def _end_if_idle(self) -> None:
        stopping = self._stopping
        if stopping is None or stopping.called or self._sent:
            return
        if self._waiting and self._connection is not None:
            return
        waiting, self._waiting = self._waiting, []
        self._fail(waiting)
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._connection is not None:
            # What was counted since the last scrape would be lost.
            self._connection.send(Collected(_UNASKED, self.follower.counters()))
        stopping.callback(None)
        self._service.stopService()


class _ConnectionFactory(Factory):
    noisy = False

    def __init__(self, end: Funnel) -> None:
        self._end = end

    def buildProtocol(self, _: IAddress | None) -> _Connection:
        return MessageProtocol(_decoder, self._end)
