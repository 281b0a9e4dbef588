"""
Sends the loads to the daemon's service in this process; `instructions` starts it.

    in_process.py STORAGE prepare|measure|profile WARM-UP SMALLER LARGER

The service is that of ``twistd asciid``, on an LMDB storage.  What varies from run to
run is replaced: the reactor, its threads, the clocks and random numbers.  So the same
code takes the same instructions in each run.

With ``measure`` it calls `MARK` before and after each load, where callgrind dumps its
counts.  With ``profile`` it writes the functions that each part of each load called to
`CALLS`.  An unexpected response ends it with exit code 1.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import sys
import time
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar

_now = count(1_700_000_000_000_000_000, 1_000)
_random = count()


def _random_bytes(size: int) -> bytes:
    seed = next(_random).to_bytes(8, "big")
    return hashlib.shake_128(seed).digest(size)


# Before anything is imported that remembers them.
time.time = lambda: next(_now) / 1e9
time.time_ns = lambda: next(_now)
time.monotonic = lambda: next(_now) / 1e9
time.monotonic_ns = lambda: next(_now)
time.perf_counter = lambda: next(_now) / 1e9
os.urandom = _random_bytes

from python_calls import PythonCalls  # noqa: E402
from twisted.internet.address import IPv4Address  # noqa: E402 - as the others below
from twisted.internet.testing import MemoryReactorClock, StringTransport  # noqa: E402
from twisted.logger import (  # noqa: E402
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.python import threadpool  # noqa: E402
from twisted.python.failure import Failure  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kinds import Load

    from script import Image, Request

CONNECTIONS = 32
"""Requests of a batch."""
MARK = os.getsid
"""A function of the C library that nothing else calls."""
CALLS = "calls.json"
"""The functions that each part of each load called: calls and bytecodes."""
TICK = 0.001
"""Seconds that pass when there is nothing to do."""


class SteppedPool(threadpool.ThreadPool):
    """A pool without threads: `step` does the oldest piece of work."""

    work: ClassVar[deque[Callable[[], object]]] = deque()
    """The work of all pools."""

    def start(self) -> None:
        """Begin nothing."""

    def stop(self) -> None:
        """End nothing."""

    def adjustPoolsize(self, *_: object, **__: object) -> None:
        """Change nothing."""

    def callInThread(self, func: Any, *args: Any, **kw: Any) -> None:  # noqa: ANN401
        """Queue a call."""
        self.work.append(lambda: func(*args, **kw))

    def callInThreadWithCallback(  # noqa: D102 - ThreadPool's
        self,
        onResult: Any,  # noqa: ANN401
        func: Any,  # noqa: ANN401
        *args: Any,  # noqa: ANN401
        **kw: Any,  # noqa: ANN401
    ) -> None:
        def call() -> None:
            try:
                succeeded, result = True, func(*args, **kw)
            except Exception:  # noqa: BLE001 - a pool hands on whatever it is
                succeeded, result = False, Failure()
            if onResult is not None:
                onResult(succeeded, result)

        self.work.append(call)


class FixedSteppedPool(SteppedPool):
    """That in the place of `asciid.runtime.threads.FixedThreadPool`."""

    def __init__(self, size: int, name: str) -> None:
        super().__init__(size, size, name)


# The store takes its pools from there.
threadpool.ThreadPool = SteppedPool


class SteppedReactor(MemoryReactorClock):
    """A reactor that turns on demand."""

    def __init__(self) -> None:
        super().__init__()
        self._pool = SteppedPool()

    def callFromThread(self, call: Any, *args: Any, **kw: Any) -> None:  # noqa: ANN401
        """Have `call` made in the next turn."""
        self.callLater(0, call, *args, **kw)

    def getThreadPool(self) -> SteppedPool:
        """Return the reactor's pool."""
        return self._pool

    def callInThread(self, call: Any, *args: Any, **kw: Any) -> None:  # noqa: ANN401
        """Queue a call."""
        self._pool.callInThread(call, *args, **kw)

    def listening(self) -> Any:  # noqa: ANN401 - the factory of any service
        """Return the factory that serves; earlier commits have the reactor bind."""
        if self.adoptedPorts:
            return self.adoptedPorts[0][2]
        return self.tcpServers[0][1]

    def settle(self) -> None:
        """Do all that is due now, and what follows from it."""
        work = SteppedPool.work
        while True:
            while work:
                work.popleft()()
            if not self.calls or self.calls[0].getTime() > self.seconds():
                return
            self.advance(0)


class MemoryTransport(StringTransport):
    """A client's end of a connection: it stores the received data."""

    def __init__(self, port: int) -> None:
        super().__init__(
            hostAddress=IPv4Address("TCP", "127.0.0.1", 4444),
            peerAddress=IPv4Address("TCP", "127.0.0.1", port),
        )
        self.received: list[bytes] = []
        self.write = self.received.append


class Client:
    """Connections to a service in this process."""

    def __init__(self, storage: str) -> None:
        # Only here: the pools and the clocks are replaced by now.
        from asciid.runtime import threads  # noqa: PLC0415

        threads.FixedThreadPool = FixedSteppedPool
        from asciid.tap import Options, makeService  # noqa: PLC0415

        self._reactor = SteppedReactor()
        options = Options({})
        endpoint = "tcp:4444:interface=127.0.0.1"
        options.parseOptions(
            ["--port", endpoint, "--storage", storage, "--max-client-uploads=0"]
        )
        self._service = makeService(options, self._reactor)
        self._service.privilegedStartService()
        self._service.startService()
        self._reactor.settle()
        factory = self._reactor.listening()
        self._connections = []
        for number in range(CONNECTIONS):
            transport = MemoryTransport(50_000 + number)
            protocol = factory.buildProtocol(transport.getPeer())
            protocol.makeConnection(transport)
            self._connections.append((protocol, transport))
        self._sent: list[tuple[Request, int]] = []

    def send(self, requests: list[Request]) -> None:
        """Send requests in batches, each answered before the next."""
        for begin in range(0, len(requests), CONNECTIONS):
            batch = requests[begin : begin + CONNECTIONS]
            for (protocol, _), request in zip(self._connections, batch, strict=False):
                protocol.dataReceived(request.data)
            self._reactor.settle()
            self._reactor.advance(TICK)
            self._sent.extend((request, at) for at, request in enumerate(batch))

    def send_images(self, images: Iterable[Image]) -> None:
        """Send images, as many at once as there are connections, step by step."""
        waiting = list(images)
        for begin in range(0, len(waiting), CONNECTIONS):
            group = waiting[begin : begin + CONNECTIONS]
            for step in range(len(group[0])):
                self.send([request for image in group for request in image[step]])

    def check(self) -> None:
        """Compare all answers since the last check with the expected ones."""
        answers = [
            deque(_answers(b"".join(transport.received)))
            for _, transport in self._connections
        ]
        for request, at in self._sent:
            status, body = answers[at].popleft() if answers[at] else (0, b"")
            if status != request.status or request.body not in {None, body}:
                sys.exit(f"status {status} to {request.data!r}: {body!r}")
        if any(answers):
            sys.exit("more answers than requests")
        self._sent.clear()
        for _, transport in self._connections:
            transport.received.clear()

    def stop(self) -> None:
        """Stop the service, as the end of the daemon does."""
        stopped: list[object] = []
        for protocol, _ in self._connections:
            protocol.connectionLost(Failure(ConnectionError()))
        self._service.stopService().addBoth(stopped.append)
        self._reactor.settle()
        if stopped != [None]:
            sys.exit(f"the service does not stop: {stopped}")


def _answers(data: bytes) -> Iterable[tuple[int, bytes]]:
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        status = int(lines[0].split()[1])
        fields = dict(line.lower().split(b": ", 1) for line in lines[1:])
        length = 0 if status == 304 else int(fields.get(b"content-length", 0))
        yield status, rest[:length]
        data = rest[length:]


def _measure(client: Client, planned: Iterable[Load]) -> None:
    for load in planned:
        for part in load.parts:
            MARK(0)
            client.send_images(part)
        MARK(0)
        client.check()


def _profile(client: Client, planned: Iterable[Load]) -> None:
    calls = PythonCalls()
    found = []
    for load in planned:
        parts = []
        for part in load.parts:
            calls.start()
            client.send_images(part)
            parts.append(calls.take())
        found.append(parts)
        client.check()
    with open(CALLS, "w", encoding="utf-8") as file:  # noqa: PTH123 - as below
        json.dump(found, file)


def main(storage: str, what: str, *sizes: str) -> None:
    """Send the requested loads."""
    from kinds import Sizes, loads, stored  # noqa: PLC0415 - after the clocks

    numbers = Sizes(*map(int, sizes))
    globalLogBeginner.beginLoggingTo(
        [textFileLogObserver(open(os.devnull, "w"))],  # noqa: PTH123, SIM115
        redirectStandardIO=False,
    )
    client = Client(storage)
    if what == "prepare":
        client.send_images(stored(numbers))
    else:
        planned = list(loads(numbers))
        # As `twistd asciid` does.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        if what == "measure":
            _measure(client, planned)
        else:
            _profile(client, planned)
    client.check()
    client.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
