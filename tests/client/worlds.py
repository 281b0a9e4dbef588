"""A client and the real service in one process, and a network that fails to order."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define, field
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse
from twisted.web.resource import Resource
from zope.interface import implementer

from asciid.client import Client
from asciid.http import KleinFactory, Limits
from asciid.store import Lifetimes
from asciid.testing import ManualReactor, ManualThreadPool, MemoryStore
from tests.api._support import make_api

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.interfaces import IProtocol
    from twisted.web.iweb import IBodyProducer

__all__ = ["Answered", "CountingStore", "Cut", "Lost", "LostAfter", "World"]

ResultT = TypeVar("ResultT")


@implementer(IResponse)
class Answered:
    """An answer that the network gives in place of the service."""

    version = (b"HTTP", 1, 1)
    phrase = b""
    request = None
    previousResponse = None

    def __init__(
        self, code: int, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        self.code = code
        self.body = body
        self.length: Any = len(body)
        self.headers = Headers({k: [v] for k, v in (headers or {}).items()})

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver it at once."""
        protocol.makeConnection(cast("Any", self))
        if self.body:
            protocol.dataReceived(self.body)
        protocol.connectionLost(Failure(ResponseDone()))

    def loseConnection(self) -> None:
        """Record the end of the connection."""

    def setPreviousResponse(self, response: object) -> None:
        """Not be used."""
        raise AssertionError(response)


@define
class Lost:
    """The connection is lost before the service sees the request."""


@define
class LostAfter:
    """The connection is lost when the service has carried out the request."""


@define
class Cut:
    """The connection is lost after so many bytes of the answer's body."""

    size: int


@implementer(IResponse)
class _CutResponse:
    def __init__(self, response: Any, size: int) -> None:  # noqa: ANN401 - treq's
        self._response = response
        self._left = size
        self._cut = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of any kind
        return getattr(self._response, name)

    def deliverBody(self, protocol: Any) -> None:  # noqa: ANN401 - a protocol
        """Deliver the beginning."""
        received, ended = protocol.dataReceived, protocol.connectionLost

        def some(data: bytes) -> None:
            data, self._left = data[: self._left], self._left - len(data)
            if data:
                received(data)

        def end(reason: Failure) -> None:
            lost = Failure(ResponseFailed([Failure(ConnectionLost())]))
            ended(lost if self._left <= 0 else reason)

        protocol.dataReceived, protocol.connectionLost = some, end
        self._response.deliverBody(protocol)


Fault = Answered | Lost | LostAfter | Cut | None


@implementer(IAgent)
class Network:
    """
    An agent of the service; `faults` says what becomes of each request.

    `asked` has method and path of every request, `fields` its header fields.
    """

    def __init__(self, service: object) -> None:
        agent: Any = RequestTraversalAgent(Resource())
        agent._serverFactory = service  # it would put a Site there
        self._agent = agent
        self.faults: Callable[[str, str], Fault] = lambda _method, _path: None
        self.asked: list[tuple[str, str]] = []
        self.fields: list[Headers] = []

    def always(self, fault: Fault, request: tuple[str, str] | None = None) -> None:
        """Have this become of every request, or of each of that method and path."""
        self.faults = lambda *asked: fault if request in {None, asked} else None

    def first(self, *faults: Fault, request: tuple[str, str] | None = None) -> None:
        """Have these become of the first ones, in order."""
        coming = iter(faults)
        self.faults = lambda *asked: (
            next(coming, None) if request in {None, asked} else None
        )

    def flush(self) -> None:
        """Deliver bytes in transit."""
        self._agent.flush()

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        path = uri.decode().removeprefix("http://asciid.test")
        self.asked.append((method.decode(), path))
        self.fields.append(headers or Headers())
        fault = self.faults(method.decode(), path)
        lost = ResponseNeverReceived([Failure(ConnectionLost())])
        if isinstance(fault, Lost):
            return fail(lost)
        if isinstance(fault, Answered):
            answered: Deferred[IResponse] = Deferred()
            answered.callback(cast("IResponse", fault))
            return answered
        response: Deferred[Any] = self._agent.request(
            method, uri, headers, bodyProducer
        )
        if isinstance(fault, LostAfter):
            response.addCallback(lambda _: fail(lost))
        elif isinstance(fault, Cut):
            response.addCallback(_CutResponse, fault.size)
        return response


class CountingStore(MemoryStore):
    """A store that counts how often each chunk was sent to it."""

    def __init__(self, lifetimes: Lifetimes | None = None) -> None:
        super().__init__(lifetimes=lifetimes or Lifetimes())
        self.sent: list[int] = []

    def add_chunk(
        self,
        sha256: str,
        chunk_id: int,
        data: bytes,
        then: Callable[[bool], Any] = bool,
    ) -> Deferred[Any]:
        """Record the call."""
        self.sent.append(chunk_id)
        return super().add_chunk(sha256, chunk_id, data, then)


@define
class World:
    """A client of the real service, stepped by hand."""

    store: CountingStore = field(factory=CountingStore)
    reactor: ManualReactor = field(factory=ManualReactor)
    threads: ManualThreadPool = field(factory=ManualThreadPool)
    max_image_size: int = 8 * 1024 * 1024
    retries: int = 10
    token: str | None = None
    service_reactor: Clock = field(init=False, factory=Clock)
    network: Network = field(init=False)
    client: Client = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Put the parts together."""
        api = make_api(
            self.store,
            max_image_size=self.max_image_size,
            max_chunk_size=1024 * 1024,
        )
        # The service's clock stands still: it is the client that waits.
        limits = Limits(endpoint_bodies=api.body_limits)
        service = KleinFactory(api.app, reactor=self.service_reactor, limits=limits)
        self.network = Network(service)
        self.client = Client(
            "http://asciid.test",
            agent=self.network,
            token=self.token,
            retries=self.retries,
            reactor=self.reactor,
            threads=self.threads,
            rng=random.Random(1),
        )

    def settle(self) -> None:
        """Move everything that moves without time passing."""
        idle = 0
        while idle < 3:  # flush() does not return whether it delivered anything
            idle = 0 if self.threads.step() else idle + 1
            self.network.flush()
            self.service_reactor.advance(0)
            self.reactor.advance(0)

    def pass_time(self) -> bool:
        """Advance time to the next event; return whether there is one."""
        calls = self.reactor.getDelayedCalls()
        if not calls:
            return False
        soonest = min(call.getTime() for call in calls)
        self.reactor.advance(max(0.0, soonest - self.reactor.seconds()))
        return True

    def finish(self, awaited: Deferred[ResultT]) -> ResultT:
        """Move everything until `awaited` fires; return or raise its result."""
        outcome: list[Any] = []
        awaited.addBoth(outcome.append)
        self.settle()
        while not outcome:
            if not self.pass_time():
                message = "nothing is left to do, and there is no result"
                raise AssertionError(message)
            self.settle()
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        return cast("ResultT", outcome[0])
