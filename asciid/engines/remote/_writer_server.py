"""The writing process's end of the connections to the workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from asciid.engines.remote._batch_delay import BatchDelay
from asciid.engines.remote._collecting import Collecting
from asciid.engines.remote._framing import MessageProtocol, framed
from asciid.engines.remote._last_snapshots import LastSnapshots
from asciid.engines.remote._messages import (
    VERSION,
    Ack,
    CloseFile,
    Collected,
    Evict,
    Fresh,
    FromWorker,
    Gather,
    Gathered,
    Hello,
    Idle,
    Leave,
    OpenFile,
    Outcomes,
    Submit,
    Welcome,
    refused,
)
from asciid.engines.remote._pending_requests import PendingRequests
from asciid.store.engine import StorageInUseError
from asciid.store.operations import Completed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from twisted.internet.interfaces import IAddress, IReactorTime
    from twisted.python.failure import Failure

    from asciid.engines.generations import Generations
    from asciid.engines.remote._messages import FromWriter
    from asciid.store.operations import AnyOperation

__all__ = ["IWritingProcess", "WriterServer"]

GATHERING = 5.0
"""Seconds from the first worker on in which the others should connect."""

LEAVING = 2.0
"""
Seconds for a worker to answer when this process stops.

Operations wait for little more than that and a start.
"""

FRESH_IMAGE = 16 * 1024
"""
Maximum bytes of an image that is sent to all workers when it becomes complete.

To read it takes each longer, and has a page of the file mapped.
"""

FRESH_BYTES = 2 * 1024 * 1024
"""Maximum bytes of images that are sent to all workers for one `Submit`."""

_KEPT = 12
"""
Ended processes whose metrics are kept apart, besides one for each worker: workers of
the previous writer connect again.
"""

_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(FromWorker)
_log = Logger()

_Connection = MessageProtocol


class IWritingProcess(Protocol):
    """The writer, which is not called before a worker connects."""

    def apply(self, operations: Sequence[AnyOperation]) -> Deferred[Sequence[Any]]:
        """See `IEngine.apply`."""

    def snapshot(self) -> Deferred[bytes]:
        """Return the metrics of this process."""

    def save(self, snapshots: Mapping[str, bytes]) -> None:
        """Keep the metrics of all processes for the next writer."""


class WriterServer(Factory):
    """
    Has `process` carry out the operations of workers, and sends them notifications.

    `saved` is the last value that the previous writer passed to `save`.  `clock`
    provides IReactorTime.  Metrics are exported once `expected` workers have connected,
    or had time to: fewer would be less than was exported before.
    `generations` are shared with the workers.  This is the `IPeers` of the engine.
    """

    noisy = False

    def __init__(
        self,
        process: IWritingProcess,
        clock: IReactorTime,
        generations: Generations,
        *,
        saved: Mapping[str, bytes] | None = None,
        expected: int = 1,
    ) -> None:
        self._process = process
        self._generations = generations
        self.count_removal = generations.count_removal
        self.count_file = generations.count_file
        self._clock = clock
        self._expected = expected
        self._patient_until: float | None = None
        """
        When no more workers are awaited: at once when all have connected, and None
        before the first.
        """
        self._workers: set[_Connection] = set()
        self._names: dict[_Connection, str] = {}
        self._snapshots = LastSnapshots(saved or {}, kept=expected + _KEPT)
        self._name = uuid4().hex
        # Workers that connect while the file is closed.
        self._kept_waiting: list[_Connection] = []
        self._file_closed = False
        self._outgoing: dict[_Connection, list[bytes]] = {}
        self._delay = BatchDelay(clock)
        self._requests = PendingRequests(clock, self._send_each)
        self._collecting = Collecting(self._requests)
        self._empty: list[Deferred[None]] = []

    def buildProtocol(self, _: IAddress | None) -> _Connection:
        """Return the protocol of a new connection."""
        return MessageProtocol(_decoder, self)

    @property
    def workers(self) -> int:
        """How many workers are connected."""
        return len(self._workers)

    @property
    def answering(self) -> int:
        """How many of them send their metrics in time."""
        return len(self._workers - self._requests.unresponsive)

    def made(self, connection: _Connection) -> None:
        """See `IEnd.made`: the worker speaks first."""

    def received(self, connection: _Connection, message: FromWorker) -> None:
        """See `IEnd.received`."""
        if connection not in self._workers and type(message) is not Hello:
            # Messages of other versions cannot be decoded.
            error = "message before a Hello of this version"
            raise ValueError(error)
        match message:
            case Submit():
                self._submit(connection, message)
                self._delay.received(connection)
            case Idle():
                self._delay.received(connection)
            case Ack(number=number):
                self._requests.answered(connection, number)
            case Collected(number=number, snapshot=snapshot):
                self._snapshots.record(self._names[connection], snapshot)
                self._requests.answered(connection, number)
            case Gather(number=number, snapshot=snapshot):
                self._snapshots.record(self._names[connection], snapshot)
                self._gather(connection, number)
            case Hello(version=version, name=name):
                self._names[connection] = name
                self._greet(connection, version)

    def lost(self, connection: _Connection) -> None:
        """See `IEnd.lost`."""
        self._workers.discard(connection)
        self._outgoing.pop(connection, None)
        self._delay.received(connection)
        if connection in self._kept_waiting:
            self._kept_waiting.remove(connection)
        self._requests.lost(connection)
        if not self._workers:
            empty, self._empty = self._empty, []
            for waiting in empty:
                waiting.callback(None)
        self._snapshots.end(self._names.pop(connection, ""))

    def evict(self, removals: int, hashes: Sequence[str] | None) -> None:
        """See `IPeers.evict`; until it arrives a worker does not use its cache."""
        listed = None if hashes is None else list(hashes)
        self._send_each(self._workers, Evict(removals, listed))

    def close_file(self) -> Deferred[None]:
        """
        See `IPeers.close_file`.

        Errors: `StorageInUseError` if a worker does not answer.
        """
        self._file_closed = True

        def closed(all_answered: object) -> None:
            if not all_answered:
                message = "in use by a worker that does not answer"
                raise StorageInUseError(message)

        return self._requests.send(self._workers, CloseFile).addCallback(closed)

    def open_file(self) -> Deferred[None]:
        """See `IPeers.open_file`."""
        self._file_closed = False

        def opened(_: object) -> None:
            kept_waiting, self._kept_waiting = self._kept_waiting, []
            for connection in kept_waiting:
                self._welcome(connection)

        return self._requests.send(self._workers, OpenFile).addCallback(opened)

    def save_all(self, own: bytes) -> None:
        """Save the metrics of all processes; `own` are those of this one."""
        self._process.save({**self._snapshots.all(), self._name: own})

    def dismiss(self) -> Deferred[None]:
        """Have all workers send nothing more; fires once they have stopped."""
        return self._requests.send(self._workers, Leave, timeout=LEAVING).addCallback(
            lambda _: None
        )

    def pause(self, then: Callable[[], None]) -> None:
        """See `IPeers.pause`: `BatchDelay.begin`."""
        self._delay.begin(then)

    def disconnect(self) -> None:
        """Close all connections, once their output is sent."""
        self._send_all()
        for connection in [*self._workers, *self._kept_waiting]:
            connection.close()

    def wait_until_empty(self) -> Deferred[None]:
        """Fire once no worker is connected."""
        if not self._workers:
            return succeed(None)
        empty: Deferred[None] = Deferred(self._empty.remove)
        self._empty.append(empty)
        return empty

    def _greet(self, connection: _Connection, version: int) -> None:
        if version != VERSION:
            _log.error(
                "protocol version mismatch: worker {theirs}, this process {ours}",
                theirs=version,
                ours=VERSION,
            )
            # It learns the version of this process, and disconnects.
            connection.send(Welcome(VERSION, 0))
        elif self._file_closed:
            self._kept_waiting.append(connection)
        else:
            self._welcome(connection)

    def _welcome(self, connection: _Connection) -> None:
        self._workers.add(connection)
        if self._patient_until is None:
            self._patient_until = self._clock.seconds() + GATHERING
        if len(self._workers) >= self._expected:
            self._patient_until = 0.0
        connection.send(Welcome(VERSION, self._generations.removals))

    def _submit(self, connection: _Connection, message: Submit) -> None:
        operations = message.operations

        def answer(outcomes: Sequence[Any]) -> None:
            sent = [
                refused(outcome) if isinstance(outcome, Exception) else outcome
                for outcome in outcomes
            ]
            self._delay.answered(connection)
            self._send_each((connection,), Outcomes(message.number, sent))

        def committed(outcomes: Sequence[Any]) -> None:
            fresh, left = [], FRESH_BYTES
            for outcome in outcomes:
                if type(outcome) is Completed:
                    size = outcome.spec.size
                    if outcome.content is not None and size <= min(left, FRESH_IMAGE):
                        fresh.append(outcome)
                        left -= size
            if fresh:
                self._send_fresh(connection, fresh)
            answer(outcomes)

        def failed(failure: Failure) -> None:
            answer([failure.value] * len(operations))

        self._process.apply(operations).addCallbacks(committed, failed)

    def _send_each(
        self, connections: Iterable[_Connection], message: FromWriter
    ) -> None:
        """Send a message, together with all others of this turn of the reactor."""
        data = framed(message)
        for connection in connections:
            if not self._outgoing:
                self._clock.callLater(0, self._send_all)
            self._outgoing.setdefault(connection, []).append(data)

    def _send_all(self) -> None:
        outgoing, self._outgoing = self._outgoing, {}
        for connection, messages in outgoing.items():
            connection.send_framed(b"".join(messages))

    def _send_fresh(self, connection: _Connection, fresh: list[Completed]) -> None:
        """Have other workers cache new images, which are usually requested soon."""
        # It is an optimization: it must not pile up for a worker that hangs.
        others = [one for one in self._workers - {connection} if not one.is_slow]
        self._send_each(others, Fresh(fresh))

    def _gather(self, asking: _Connection, number: int) -> None:
        """Send one worker the metrics of all others."""
        if self._clock.seconds() < (self._patient_until or 0.0):
            asking.send(Gathered(number, []))
            return

        async def gathered() -> list[bytes]:
            name = self._names[asking]
            await self._collecting.collect(self._workers - {asking})
            own = await self._process.snapshot()
            self.save_all(own)
            return [own, *self._snapshots.others(name)]

        def unknown(failure: Failure) -> None:
            _log.failure("cannot collect metrics", failure)
            asking.send(Gathered(number, []))

        Deferred.fromCoroutine(gathered()).addCallbacks(
            lambda snapshots: asking.send(Gathered(number, snapshots)),
            unknown,
        )
