"""A worker's end of the connection to the writer."""

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

from asciid.engines._queue_size import QueueSize
from asciid.engines._submissions import Submission, deliver
from asciid.engines.remote._framing import MessageProtocol
from asciid.engines.remote._messages import (
    VERSION,
    Ack,
    CloseFile,
    Collect,
    Collected,
    Evict,
    Fresh,
    FromWriter,
    Gather,
    Gathered,
    Hello,
    Idle,
    Leave,
    OpenFile,
    Outcomes,
    Refused,
    Submit,
    Welcome,
)
from asciid.errors import (
    AsciidError,
    StoreBusyError,
    StoreClosedError,
    WriterGoneError,
    WriterUnavailableError,
)
from asciid.store.operations import all_outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IAddress, IDelayedCall
    from twisted.python.failure import Failure

    from asciid.store.operations import AnyOperation, Completed

__all__ = ["IFollower", "IMetricsSource", "WriterClient"]

WRITER_TIMEOUT = 10.0
"""Seconds for which an operation waits for a writer."""

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
_Submission = Submission["AnyOperation"]


class IFollower(Protocol):
    """Applies the writer's messages in this process."""

    def completed(self, images: Sequence[Completed]) -> None:
        """Small images became complete through another worker; see `Fresh`."""

    def removed(self, removals: int, hashes: Sequence[str] | None) -> None:
        """
        Images were removed, or any may have been if None; see `Evict`, `Welcome`.

        All removals up to the count `removals` have been received then.
        """

    def disconnected(self) -> None:
        """No removals are received until the next `removed`."""

    def close_file(self) -> Deferred[None]:
        """See `CloseFile`."""

    def open_file(self) -> Deferred[None]:
        """See `OpenFile`."""


class IMetricsSource(Protocol):
    """The metrics of this process."""

    def snapshot(self) -> Deferred[bytes]:
        """Return all of them."""

    def counters(self) -> bytes:
        """Return the counters, which are available at once."""


@define(eq=False)
class WriterClient:
    """
    Has operations carried out by the writer.

    Operations of one turn of the reactor, or the next, are sent in one message, or in a
    few large ones.  When the connection is lost, operations that were sent fail: their
    outcome is unknown.  Others wait for the next connection, for `WRITER_TIMEOUT`
    seconds at the most.

    `path` is the name of the socket, `reactor` provides IReactorUNIX and
    IReactorTime, `metrics` provides those of this process.  `queue` bounds the
    operations under way.  At most `max_unanswered` bytes of them are with the writer,
    or one message.
    """

    path: str
    reactor: Any
    metrics: IMetricsSource
    queue: QueueSize = field(factory=QueueSize)
    max_unanswered: int = UNANSWERED_BYTES
    _follower: IFollower = field(init=False)
    _service: ClientService = field(init=False)
    _connection: _Connection | None = field(init=False, default=None)
    """Where operations are sent; None while none are accepted."""
    _welcomed_by: _Connection | None = field(init=False, default=None)
    """Where operations are sent once the storage file is open."""
    _waiting: list[_Submission] = field(init=False, factory=list)
    _sent: dict[int, Sequence[_Submission]] = field(init=False, factory=dict)
    _gathering: dict[int, Deferred[list[bytes]]] = field(init=False, factory=dict)
    _unanswered: int = field(init=False, default=0)
    """Bytes of the operations that were sent."""
    _name: str = field(init=False, factory=lambda: uuid4().hex)
    _last_number: int = field(init=False, default=0)
    _scheduled: bool = field(init=False, default=False)
    _watch: IDelayedCall | None = field(init=False, default=None)
    _given_up: bool = field(init=False, default=False)
    _connected: Deferred[None] = field(init=False, factory=Deferred)
    _idle: list[Deferred[None]] = field(init=False, factory=list)
    """Deferreds that fire once no operation is in progress."""
    _stopping: Deferred[None] | None = field(init=False, default=None)

    @_service.default
    def _(self) -> ClientService:
        return ClientService(
            UNIXClientEndpoint(self.reactor, self.path),
            _ConnectionFactory(self),
            retryPolicy=lambda attempt: min(0.02 * 2**attempt, 0.5),
            clock=self.reactor,
        )

    def start(self, follower: IFollower) -> Deferred[None]:
        """Connect; the Deferred fires once operations are accepted."""
        if not self._service.running:
            self._follower = follower
            self._service.startService()
        # The caller may be a callback of the Deferred itself, which would wait for it.
        return succeed(None) if self._connected.called else self._connected

    def drain(self) -> Deferred[None]:
        """Answer once all that was submitted is answered, or cannot be for now."""
        idle: Deferred[None] = Deferred()
        self._idle.append(idle)
        self._check_idle()
        return idle

    def stop(self) -> Deferred[None]:
        """Accept nothing more; answer once all that was accepted is answered."""
        if self._stopping is None:
            self._stopping = Deferred()
            self.drain().addCallback(self._end).chainDeferred(self._stopping)
        return self._stopping

    def submit(
        self,
        operations: Sequence[AnyOperation],
        then: Callable[[Sequence[Any]], Any] = all_outcomes,
    ) -> Deferred[Any]:
        """
        Have operations carried out; see `IEngine.apply`.

        Errors: `StoreBusyError` past a bound, `StoreClosedError` after `stop`,
        `WriterUnavailableError` if they were not sent, `WriterGoneError` if they were.
        """
        if self._stopping is not None:
            return fail(StoreClosedError())
        if self._given_up:
            return fail(WriterUnavailableError())
        size = sum([operation.size for operation in operations])
        if not self.queue.add(len(operations), size):
            return fail(StoreBusyError())
        submission = Submission(operations, size, then)
        self._waiting.append(submission)
        self._schedule()
        return submission.done

    def gather(self, own: bytes) -> Deferred[list[bytes]]:
        """
        Return the metrics of all other processes that answer.

        `own` is the snapshot of this one.
        """
        if self._connection is None:
            return succeed([])
        self._last_number += 1
        gathered = self._gathering[self._last_number] = Deferred()
        self._connection.send(Gather(self._last_number, own))
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
                self._follower.completed(images)
            case Welcome():
                self._welcomed(connection, message)
            case Evict(removals=removals, hashes=hashes):
                self._follower.removed(removals, hashes)
            case CloseFile(number=number):
                self._acknowledge(connection, number, self._follower.close_file())
            case OpenFile(number=number):
                self._acknowledge(connection, number, self._follower.open_file())
            case Leave(number=number):
                self._pause()
                connection.send(Collected(number, self.metrics.counters()))
            case Collect(number=number):
                self._send_snapshot(connection, number)
            case Gathered(number=number, snapshots=snapshots):
                self._gathering.pop(number).callback(snapshots)

    def lost(self, connection: _Connection) -> None:
        """See `IEnd.lost`."""
        del connection
        self._pause()
        self._follower.disconnected()
        sent, self._sent = self._sent, {}
        self._unanswered = 0
        for waiting in sent.values():
            self._fail(waiting, WriterGoneError)
        gathering, self._gathering = self._gathering, {}
        for gathered in gathering.values():
            gathered.callback([])
        self._check_idle()

    def _welcomed(self, connection: _Connection, message: Welcome) -> None:
        if message.version != VERSION:
            _log.error(
                "protocol version mismatch: writer {theirs}, this process {ours}",
                theirs=message.version,
                ours=VERSION,
            )
            connection.abort()
            return
        self._follower.removed(message.removals, None)
        # The file may have changed together with the writer.
        self._welcomed_by = connection
        self._follower.open_file().addCallbacks(
            lambda _: self._resume(connection),
            self._cannot_open,
            errbackArgs=(connection,),
        )

    def _acknowledge(
        self, connection: _Connection, number: int, done: Deferred[None]
    ) -> None:
        """Acknowledge the message `number` once `done` has fired."""
        done.addCallbacks(
            lambda _: connection.send(Ack(number)),
            self._cannot_open,
            errbackArgs=(connection,),
        )

    def _cannot_open(self, failure: Failure, connection: _Connection) -> None:
        _log.error("cannot open the storage: {error}", error=failure.value)
        # The next connection retries.
        connection.abort()

    def _send_snapshot(self, connection: _Connection, number: int) -> None:
        def unknown(failure: Failure) -> None:
            _log.failure("cannot send metrics", failure)
            # A worker that does not answer is disconnected.
            connection.send(Ack(number))

        self.metrics.snapshot().addCallbacks(
            lambda snapshot: connection.send(Collected(number, snapshot)), unknown
        )

    def _resume(self, connection: _Connection) -> None:
        if connection is not self._welcomed_by:
            return  # it was lost, or ended, while the file was opened
        self._connection = connection
        self._given_up = False
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if not self._connected.called:
            self._connected.callback(None)
        self._flush()

    def _pause(self) -> None:
        self._connection = self._welcomed_by = None
        if self._watch is None and self._stopping is None:
            self._watch = self.reactor.callLater(WRITER_TIMEOUT, self._give_up)

    def _give_up(self) -> None:
        self._watch = None
        self._given_up = True
        _log.error("no writer: failing the operations that wait for one")
        waiting, self._waiting = self._waiting, []
        self._fail(waiting, WriterUnavailableError)

    def _schedule(self) -> None:
        if not self._scheduled and self._connection is not None:
            self._scheduled = True
            # Between the two calls the reactor polls for input: operations that arrive
            # then share the message.
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
                Submit(
                    self._last_number, [one for each in some for one in each.operations]
                )
            )

    def _take_message(self) -> Sequence[_Submission]:
        """Take the first operations of the queue that fit one message."""
        count = total = 0
        largest = min(MESSAGE_BYTES, self.max_unanswered)
        for submission in self._waiting:
            total += submission.size
            if count and total > largest:
                total -= submission.size
                break
            count += 1
        self._unanswered += total
        some = self._waiting[:count]
        del self._waiting[:count]
        return some

    def _answered(self, message: Outcomes) -> None:
        sent = self._sent.pop(message.number)
        size = sum([submission.size for submission in sent])
        self._unanswered -= size
        self.queue.remove(len(message.outcomes), size)
        outcomes = [
            outcome.exception() if type(outcome) is Refused else outcome
            for outcome in message.outcomes
        ]
        deliver(sent, outcomes)
        # Clients that were answered may send more, and the writer waits for it.
        self._schedule()
        self._check_idle()

    def _fail(self, waiting: Sequence[_Submission], error: type[AsciidError]) -> None:
        for submission in waiting:
            self.queue.remove(len(submission.operations), submission.size)
            submission.done.errback(error())

    def _check_idle(self) -> None:
        if self._sent or (self._waiting and self._connection is not None):
            return
        idle, self._idle = self._idle, []
        for done in idle:
            done.callback(None)

    def _end(self, _: None) -> None:
        waiting, self._waiting = self._waiting, []
        self._fail(waiting, StoreClosedError)
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._connection is not None:
            # Counts since the last scrape would be lost.
            self._connection.send(Collected(_UNASKED, self.metrics.counters()))
        self._service.stopService()


class _ConnectionFactory(Factory):
    noisy = False

    def __init__(self, end: WriterClient) -> None:
        self._end = end

    def buildProtocol(self, _: IAddress | None) -> _Connection:
        return MessageProtocol(_decoder, self._end)
