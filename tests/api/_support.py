"""The API in memory, behind any HTTP stack."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

from attrs import frozen
from treq.testing import StubTreq
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.web.resource import Resource
from zope.interface import implementer

from asciid.api import PROBLEM_TYPES, ImageAPI
from asciid.daemon.assembly import make_http_server
from asciid.http import KleinFactory, Limits
from asciid.metrics import Metrics, RequestCounts, WorkersState
from asciid.runtime.client_scheduler import ClientScheduler
from asciid.runtime.offload import AT_ONCE, IOffload
from asciid.store import IImageStore
from asciid.testing import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IProtocolFactory
    from twisted.web.http_headers import Headers

    from asciid.http import Observer
    from asciid.model import About, AboutRecord, ImageSpec, NewImage, UploadStatus
    from asciid.store import IImageReader, IImageWriter
    from asciid.web.renderings import Renderings

CAT = "/\\_/\\\n( ö.ö )\n >^<\n"
"""An image of 21 bytes, two of its characters outside of ASCII."""
CAT_BYTES = CAT.encode("utf-8")
CAT_SHA256 = sha256(CAT_BYTES).hexdigest()
JSON = "application/json"


@frozen
class Answer:
    """A response that has arrived."""

    status: int
    headers: Headers
    body: bytes
    length: int
    """The Content-Length."""

    def header(self, name: str) -> str | None:
        """Return the only value of a header field."""
        values = self.headers.getRawHeaders(name)
        return values[0] if values and len(values) == 1 else None

    @property
    def problem(self) -> Any:  # noqa: ANN401 - JSON
        """The body as a problem document, having checked that it is one."""
        document = json.loads(self.body)
        phrase = document["code"].removeprefix(f"{self.status} ")
        expected = {
            "type": document["type"],
            "title": document["title"],
            "status": self.status,
            "detail": document["detail"],
            "code": f"{self.status} {phrase}",
            "message": document["detail"],
        }
        for member in ("identical", "offset"):
            if member in document:
                expected[member] = document[member]
        if self.header("Content-Type") != "application/problem+json":
            message = f"not a problem document: {self.headers}"
            raise AssertionError(message)
        if document != expected or not document["type"].startswith("/problems/"):
            message = f"not a problem document of ours: {document}"
            raise AssertionError(message)
        return document


@frozen
class OneToken:
    """The only token that is good."""

    token: bytes

    def accepts(self, token: bytes) -> bool:
        """Return whether `token` is valid."""
        return token == self.token


class Working:
    """Holds a part of a limit, and must not be evicted."""

    def eviction_gain(self, _: float) -> float | None:
        """Keep it."""

    def evict(self) -> None:
        """Never called."""


def make_api(
    store: IImageStore,
    *,
    offload: IOffload = AT_ONCE,
    workers: Callable[[], WorkersState | None] = WorkersState,
    renderings: Renderings | None = None,
    **options: Any,  # noqa: ANN401 - as ImageAPI
) -> ImageAPI:
    """Return the API of `store`, with metrics."""
    counts = RequestCounts(PROBLEM_TYPES)
    metrics = Metrics(store, counts, offload, workers=workers, renderings=renderings)
    return ImageAPI(
        store, offload=offload, metrics=metrics, renderings=renderings, **options
    )


def make_server(
    api: ImageAPI,
    reactor: Any,  # noqa: ANN401 - of a test
    limits: Limits | None = None,
    *,
    observer: Observer | None = None,
) -> KleinFactory:
    """Return the HTTP server that the daemon uses, included in the metrics of `api`."""
    server = make_http_server(
        api,
        reactor,
        limits=limits or Limits(),
        observer=observer or api.metrics.requests,
        scheduler=ClientScheduler(reactor),
        acceptor=None,
    )
    api.metrics.add_server(server)
    return server


class Client:
    """A treq client of a server in memory."""

    def __init__(self, factory: IProtocolFactory) -> None:
        self.factory = factory
        stub: Any = StubTreq(Resource())
        # treq takes a resource and makes a Site; here the factory varies.
        stub._agent._serverFactory = factory
        self.treq = stub

    def raw(self, request: str) -> bytes:
        """Send bytes on a new connection; return the response bytes."""
        return bytes(self.connect(request).value())

    def connect(
        self, request: str = "", host: str = "127.0.0.1"
    ) -> StringTransportWithDisconnection:
        """Send bytes on a connection from `host`; return its transport."""
        address = IPv4Address("TCP", host, 5555)
        protocol: Any = self.factory.buildProtocol(address)
        transport: Any = StringTransportWithDisconnection(peerAddress=address)
        transport.protocol = protocol
        protocol.makeConnection(transport)
        protocol.dataReceived(request.encode("utf-8", "surrogateescape"))
        # One connection is served for a while, then in the next turn.
        reactor: Any = getattr(self.factory, "reactor", None)
        if reactor is not None:
            reactor.advance(0)
        return cast("StringTransportWithDisconnection", transport)

    def begin(
        self,
        method: str,
        path: str,
        data: object = None,
        content_type: str | None = JSON,
        **headers: str | list[str],
    ) -> Deferred[Answer]:
        """Send a request; `data` is JSON to be, or bytes as they are."""
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if data is not None and content_type is not None:
            sent["Content-Type"] = content_type

        async def exchange() -> Answer:
            response = await self.treq.request(
                method,
                f"http://asciid.test{path}",
                headers=sent,
                data=None if data is None else body,
                allow_redirects=False,
            )
            content = await self.treq.content(response)
            return Answer(response.code, response.headers, content, response.length)

        return Deferred.fromCoroutine(exchange())


@implementer(IImageStore)
class BrokenStore(MemoryStore):
    """A store every method of which fails with `error`."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def register(
        self,
        spec: ImageSpec,  # noqa: ARG002 - fails
        client: str = "",  # noqa: ARG002 - fails
        new: NewImage | None = None,  # noqa: ARG002 - fails
        then: Callable[[None], Any] = repr,  # noqa: ARG002 - fails
    ) -> Deferred[Any]:
        """Fail."""
        return fail(self.error)

    def add_chunk(
        self,
        sha256: str,  # noqa: ARG002 - fails
        chunk_id: int,  # noqa: ARG002 - fails
        data: bytes,  # noqa: ARG002 - fails
        then: Callable[[bool], Any] = bool,  # noqa: ARG002 - fails
    ) -> Deferred[Any]:
        """Fail."""
        return fail(self.error)

    def status(self, sha256: str) -> Deferred[UploadStatus]:  # noqa: ARG002 - fails
        """Fail."""
        return fail(self.error)

    def open(self, sha256: str) -> Deferred[IImageReader]:  # noqa: ARG002 - fails
        """Fail."""
        return fail(self.error)

    def create(
        self, sha256: str | None, new: NewImage | None = None
    ) -> Deferred[IImageWriter]:
        """Fail."""
        del sha256, new
        return fail(self.error)

    def about(self, sha256: str) -> Deferred[AboutRecord]:  # noqa: ARG002 - fails
        """Fail."""
        return fail(self.error)

    def set_about(
        self,
        sha256: str,  # noqa: ARG002 - fails
        about: About,  # noqa: ARG002 - fails
        revision: int | None = None,  # noqa: ARG002 - fails
        key_hash: bytes | None = None,  # noqa: ARG002 - fails
    ) -> Deferred[int]:
        """Fail."""
        return fail(self.error)
