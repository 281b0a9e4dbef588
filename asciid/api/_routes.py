"""The Klein application: one handler per route."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from klein import Klein
from twisted.internet.defer import Deferred
from werkzeug.exceptions import MethodNotAllowed, NotFound

from asciid.api._admission import Admission
from asciid.api._clients import ClientAddresses
from asciid.api._contract import contract_document
from asciid.api._cors import CORS
from asciid.api._digests import ContentDigest, check_content_digest
from asciid.api._image_delete import delete_image
from asciid.api._image_get import Downloads
from asciid.api._image_put import receive_image
from asciid.api._probes import answer_live, answer_ready
from asciid.api._problem_pages import PROBLEM_PAGES
from asciid.api._problems import answer_problem, problem_for
from asciid.api._public_address import PublicAddress
from asciid.api._schema import (
    LONG_BODY,
    InputLimits,
    parse_chunk,
    parse_hash,
    parse_long_chunk,
    parse_registration,
    require_json,
)
from asciid.api._scrape import answer_scrape
from asciid.api._status_document import status_body, status_link
from asciid.api._write_shares import WriteShares
from asciid.http import body_of, streams_body
from asciid.runtime.offload import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from ipaddress import IPv4Network, IPv6Network

    from twisted.python.failure import Failure
    from twisted.web.iweb import IRequest

    from asciid.api._authorization import Tokens
    from asciid.api._request_interface import Request, RoutedRequest
    from asciid.api._schema import Chunk
    from asciid.metrics import Metrics
    from asciid.model import UploadStatus
    from asciid.net.rate_limit import RateLimit
    from asciid.runtime.offload import IOffload
    from asciid.store import IImageReader, IImageStore

__all__ = ["ImageAPI"]

_IMAGE_METHODS = ("GET", "HEAD", "PUT")
"""The methods of an image's path without DELETE."""


ResultT = TypeVar("ResultT")


class ImageAPI:
    """
    The HTTP service in front of `store`; `app` is the Klein application.

    `max_image_size` and `max_chunk_size` are in bytes; larger ones get 413.
    `public_url` is the address of the service in links; see `PublicAddress`.
    `write_origins` are the origins, such as ``https://art.example``, whose pages may
    upload; any page may download.  `clients` determines client addresses with
    `trusted_proxies`.  `metrics` are exported, without a route here if `metrics_apart`.
    With `tokens`, writes and deletions require one of them; without, all clients may
    write and none delete.  `offload` runs long work.  `max_queue` is the capacity of
    the write queue in bytes; see `WriteShares`.  `upload_rate` limits how often each
    client may upload or register an image.
    """

    app = Klein()
    # Paths with doubled slashes are unknown paths and get 404.
    app.url_map.merge_slashes = False

    def __init__(  # noqa: PLR0913 - all but four have a default
        self,
        store: IImageStore,
        *,
        max_image_size: int,
        max_chunk_size: int,
        metrics: Metrics,
        public_url: str | None = None,
        write_origins: Iterable[str] = (),
        trusted_proxies: Iterable[IPv4Network | IPv6Network] = (),
        metrics_apart: bool = False,
        tokens: Tokens | None = None,
        offload: IOffload = AT_ONCE,
        max_queue: int = 64 * 1024 * 1024,
        upload_rate: RateLimit | None = None,
    ) -> None:
        self._store = store
        self._offload = offload
        self.metrics = metrics
        self._metrics_apart = metrics_apart
        self._downloads = Downloads(offload)
        self._public = PublicAddress(public_url)
        self._cors = CORS(write_origins, tokens=tokens is not None)
        self.clients = ClientAddresses(trusted_proxies)
        self._admission = Admission(
            self._cors, self.clients, tokens=tokens, upload_rate=upload_rate
        )
        self._begin_write = self._admission.write
        self._begin_creation = self._admission.create
        self._shares = WriteShares(max_queue)
        self._limits = InputLimits(max_image_size, max_chunk_size)
        self._contract = contract_document(
            self._limits, metrics=not metrics_apart, tokens=tokens is not None
        )

    @property
    def store(self) -> IImageStore:
        """The image store."""
        return self._store

    @property
    def body_limits(self) -> dict[str, int]:
        """Maximum request body in bytes, by endpoint."""
        return {
            "register": self._limits.max_registration_body,
            "add_chunk": self._limits.max_chunk_body,
            "upload": self._limits.max_image_size,
        }

    @property
    def refuses_unread(self) -> Callable[[RoutedRequest], bool]:
        """A function: whether a request is refused whatever its body."""
        return self._admission.refuses_unread

    @app.route("/image", methods=["POST"])
    def register(self, request: Request) -> Deferred[bytes]:
        """Register an image."""
        self._begin_creation(request)
        require_json(request)
        body = body_of(request)
        check_content_digest(request, body)
        spec = parse_registration(body, self._limits)

        def registered(_: None) -> bytes:
            request.setResponseCode(201)
            request.setHeader(b"Location", b"/image/" + spec.sha256.encode("ascii"))
            return b""

        client = self.clients.key_of(request)
        return self._store.register(spec, client).addCallback(registered)

    @app.route("/image/<sha256>/chunks", methods=["POST"])
    def add_chunk(self, request: Request, sha256: str) -> Deferred[bytes]:
        """Store a chunk."""
        self._begin_write(request)
        sha256 = parse_hash(sha256)
        require_json(request)
        body = body_of(request)

        def stored(_: object) -> bytes:
            request.setResponseCode(201)
            request.setHeader(b"Link", status_link(sha256))
            return b""

        if len(body) > LONG_BODY:
            # A disconnect does not cancel the write.
            answer: Deferred[bool] = Deferred()
            adding = self._add_long_chunk(request, sha256, body)
            Deferred.fromCoroutine(adding).addBoth(answer.callback)
            return answer.addCallback(stored)
        check_content_digest(request, body)
        chunk = parse_chunk(body, self._limits)
        return self._add_chunk(request, sha256, chunk).addCallback(stored)

    def _add_chunk(self, request: Request, sha256: str, chunk: Chunk) -> Deferred[bool]:
        return self._write(
            request,
            len(chunk.data),
            lambda: self._store.add_chunk(sha256, chunk.id, chunk.data),
        )

    def _write(
        self, request: Request, size: int, write: Callable[[], Deferred[ResultT]]
    ) -> Deferred[ResultT]:
        """Write to the store, within the client's share of the queue."""
        if size < self._shares.smallest:
            return write()
        return self._shares.run(self.clients.key_of(request), size, write)

    async def _add_long_chunk(self, request: Request, sha256: str, body: bytes) -> bool:
        if request.getHeader(b"content-digest") is not None:
            digest = ContentDigest(request)
            await self._offload.in_thread(lambda: digest.check(body))
        steps = parse_long_chunk(body, self._limits)
        client = self.clients.key_of(request)
        chunk = await self._offload.in_slices(steps, client)
        return await self._add_chunk(request, sha256, chunk)

    @app.route("/image/<sha256>/chunks", methods=["GET"])
    def status(self, request: Request, sha256: str) -> Deferred[bytes]:
        """Send the status of an image."""
        self._cors.mark(request)

        def found(status: UploadStatus) -> bytes:
            request.setHeader(b"Content-Type", b"application/json")
            request.setHeader(b"Cache-Control", b"no-store")
            return status_body(status)

        return self._store.status(parse_hash(sha256)).addCallback(found)

    @app.route("/image/<sha256>", methods=["PUT"])
    @streams_body
    async def upload(self, request: Request, sha256: str) -> bytes:
        """Receive a whole image."""
        self._begin_creation(request)
        sha256 = parse_hash(sha256)
        max_size = self._limits.max_image_size
        shared = partial(self._write, request)
        new = await receive_image(request, self._store, sha256, max_size, shared)
        if new:
            # Location has no meaning in a 200 (RFC 9110, section 10.2.2).
            request.setResponseCode(201)
            request.setHeader(b"Location", b"/image/" + sha256.encode("ascii"))
        return b""

    @app.route("/image/<sha256>", methods=["DELETE"])
    async def delete(self, request: Request, sha256: str) -> bytes:
        """Delete an image or an upload; only with tokens."""
        if not self._admission.by_token:
            raise MethodNotAllowed(_IMAGE_METHODS)
        self._begin_write(request)
        await delete_image(request, self._store, parse_hash(sha256))
        request.setResponseCode(204)
        return b""

    @app.route("/image/<sha256>", methods=["GET"])
    def download(self, request: Request, sha256: str) -> Deferred[bytes]:
        """Send an image."""
        opened = self._store.open(parse_hash(sha256))
        return opened.addCallback(self._send, request)

    def _send(self, reader: IImageReader, request: Request) -> Deferred[bytes] | bytes:
        return self._downloads.answer(request, reader)

    @app.route("/openapi.json", methods=["GET"])
    def contract(self, request: Request) -> bytes:
        """Send the OpenAPI document."""
        self._cors.mark(request)
        return self._contract.answer(request)

    @app.route("/problems/<name>", methods=["GET"])
    def problem_page(self, request: Request, name: str) -> bytes:
        """Explain a type of problem."""
        page = PROBLEM_PAGES.get(name)
        if page is None:
            raise NotFound
        self._cors.mark(request)
        return page.answer(request)

    @app.route("/livez", methods=["GET"])
    def live(self, request: Request) -> bytes:
        """Respond to liveness probes."""
        return answer_live(request)

    @app.route("/readyz", methods=["GET"])
    def ready(self, request: Request) -> bytes:
        """Respond to readiness probes."""
        metrics = self.metrics
        return answer_ready(request, metrics.failed_checks(), metrics.remarks())

    @app.route("/metrics", methods=["GET"])
    def scrape(self, request: Request) -> Deferred[bytes]:
        """Send the metrics, without CORS fields."""
        if self._metrics_apart:
            raise NotFound
        return answer_scrape(request, self.metrics)

    @app.handle_errors(Exception)
    def _refused(self, request: IRequest, failure: Failure) -> bytes:
        """Respond to an exception of a handler or of routing."""
        error = failure.value
        answered = cast("Request", request)
        if isinstance(error, MethodNotAllowed) and not self._admission.by_token:
            allowed = [name for name in error.valid_methods or () if name != "DELETE"]
            error = MethodNotAllowed(allowed)
        if self._metrics_apart and request.path == b"/metrics":
            error = NotFound()
        if isinstance(error, MethodNotAllowed) and request.method == b"OPTIONS":
            # No route has it: every path supports it.
            self._cors.answer_options(answered, error.valid_methods or ())
            return b""
        problem = problem_for(error)
        self.metrics.requests.refuse(problem.name)
        self._cors.mark(answered)
        return answer_problem(answered, problem, failure)
