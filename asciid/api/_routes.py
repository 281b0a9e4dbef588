"""The Klein application: one handler per route."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec
from klein import Klein
from twisted.internet.defer import Deferred
from werkzeug.exceptions import MethodNotAllowed, NotFound

from asciid.api._about_document import change_about, send_about
from asciid.api._admission import Admission
from asciid.api._authorization import READS
from asciid.api._clients import ClientAddresses
from asciid.api._contract import contract_document
from asciid.api._cors import CORS, SHARED
from asciid.api._creation import Creations, answer_created
from asciid.api._cross_site import OwnPages
from asciid.api._digests import ContentDigest, check_content_digest
from asciid.api._edit_keys import new_edit_key
from asciid.api._forms import FORM_OVERHEAD
from asciid.api._image_delete import delete_image
from asciid.api._image_get import Downloads
from asciid.api._image_put import receive_image
from asciid.api._probes import answer_live, answer_ready
from asciid.api._problem_pages import PROBLEM_PAGES
from asciid.api._problems import answer_problem, problem_for
from asciid.api._public_address import PublicAddress
from asciid.api._reading import Reading, wants_problem_page
from asciid.api._schema import (
    LONG_BODY,
    new_image,
    parse_chunk,
    parse_hash,
    parse_long_chunk,
    parse_registration,
    require_json,
)
from asciid.api._scrape import answer_scrape
from asciid.api._site import site_of
from asciid.api._static_files import StaticFiles
from asciid.api._status_document import answer_status
from asciid.api._write_shares import WriteShares
from asciid.errors import ImageBlockedError
from asciid.http import PreparedHead, body_of, encode_fields, streams_body
from asciid.net.body_limits import InputLimits
from asciid.runtime.offload import AT_ONCE
from asciid.web.renderer import NO_RENDERER
from asciid.web.renderings import Renderings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from ipaddress import IPv4Network, IPv6Network

    from twisted.python.failure import Failure

    from asciid.api._authorization import Tokens
    from asciid.api._request_interface import Request, RoutedRequest
    from asciid.api._schema import Chunk
    from asciid.metrics import Metrics
    from asciid.net.rate_limit import RateLimit
    from asciid.runtime.offload import IOffload
    from asciid.store import IImageReader, IImageStore

__all__ = ["ImageAPI"]

ResultT = TypeVar("ResultT")

_CREATED = PreparedHead(201, ())
_LOCATION_LINE = encode_fields(((b"Location", b"/image/%b"),))
_STORED_LINES = _LOCATION_LINE + encode_fields(((b"Cache-Control", b"no-store"),))
_LINK_LINE = encode_fields(((b"Link", b'</image/%b/chunks>; rel="status"'),))
"""Formats of lines, with the hash of the image."""


class ImageAPI:
    """
    The HTTP service in front of `store`; `app` is the Klein application.

    `max_image_size` and `max_chunk_size` are in bytes; larger ones get 413.
    `public_url` is the address of the service in links; see `PublicAddress`.
    `write_origins` are the origins, such as ``https://art.example``, whose pages may
    upload; any page may download.  `clients` determines client addresses with
    `trusted_proxies`.  `metrics` are exported, without a route here if `metrics_apart`.
    With `tokens`, writes require one of them; without, all clients may write.  Changes
    and deletions require one, or the edit key of the image.  `offload` runs long work.
    `max_queue` is the capacity of the write queue in bytes; see `WriteShares`.
    `upload_rate` limits how often each client may upload or register an image.
    `renderings` renders pages and art; without it there are none.  Without `listing` no
    page or listing names images.  `image_ttl` is the age in seconds at which the
    service deletes images, None or 0 without one.  `clock` returns seconds since the
    epoch.
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
        renderings: Renderings | None = None,
        listing: bool = True,
        image_ttl: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._offload = offload
        self.metrics = metrics
        self._metrics_apart = metrics_apart
        self._downloads = Downloads(offload, clock)
        self._public = PublicAddress(public_url)
        self._cors = CORS(write_origins, tokens=tokens is not None)
        self.clients = ClientAddresses(trusted_proxies)
        self._admission = Admission(
            self._cors,
            self.clients,
            OwnPages(self._public, write_origins),
            tokens=tokens,
            upload_rate=upload_rate,
        )
        self._begin_write = self._admission.write
        self._begin_creation = self._admission.create
        self._shares = WriteShares(max_queue)
        self._limits = InputLimits(max_image_size, max_chunk_size)
        self._clock = clock
        self._creations = Creations(
            store, offload, max_size=max_image_size, clock=clock
        )
        metrics.add_files(self._creations.held)
        self._static = StaticFiles()
        self._reading = Reading(
            store,
            site=site_of(
                self._limits,
                public=public_url is not None,
                tokens=tokens is not None,
                listing=listing,
                listed_by_default=store.listed_by_default,
                image_ttl=image_ttl,
            ),
            public=self._public,
            renderings=renderings or Renderings(NO_RENDERER),
            client_of=self.clients.key_of,
            image_ttl=image_ttl,
            clock=clock,
        )
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
            "set_about": self._limits.max_about_body,
            "upload": self._limits.max_image_size,
            **dict.fromkeys(
                ("create", "create_by_put", "create_named"),
                self._limits.max_image_size + FORM_OVERHEAD,
            ),
        }

    @property
    def refuses_unread(self) -> Callable[[RoutedRequest], bool]:
        """A function: whether a request is refused whatever its body."""
        return self._admission.refuses_unread

    @app.route("/image", methods=["POST"])
    def register(self, request: Request) -> Deferred[bytes]:
        """Register an image."""
        self._begin_creation(request)
        digested = require_json(request)
        body = body_of(request)
        if digested:
            check_content_digest(request, body)
        spec, sent = parse_registration(body, self._limits)
        key = new = None
        if sent is not None:
            key = new_edit_key() if sent.edit_key else None
            new = new_image(
                sent,
                b"" if key is None else key.key_hash,
                listed=self._store.listed_by_default,
                now=self._clock(),
            )

        def registered(_: None) -> bytes:
            _CREATED.apply(request, _LOCATION_LINE % spec.sha256.encode("ascii"))
            if key is not None:
                key.send(request)
            return b""

        client = self.clients.key_of(request)
        return self._store.register(spec, client, new, registered)

    @app.route("/image/<sha256>/chunks", methods=["POST"])
    def add_chunk(self, request: Request, sha256: str) -> Deferred[bytes]:
        """Store a chunk."""
        self._begin_write(request)
        sha256 = parse_hash(sha256)
        digested = require_json(request)
        body = body_of(request)

        def stored(_: bool) -> bytes:  # noqa: FBT001 - the result
            _CREATED.apply(request, _LINK_LINE % sha256.encode("ascii"))
            return b""

        if len(body) > LONG_BODY:
            # A disconnect does not cancel the write.
            answer: Deferred[bytes] = Deferred()
            adding = self._add_long_chunk(request, sha256, body, stored)
            Deferred.fromCoroutine(adding).addBoth(answer.callback)
            return answer
        if digested:
            check_content_digest(request, body)
        chunk = parse_chunk(body, self._limits)
        return self._add_chunk(request, sha256, chunk, stored)

    def _add_chunk(
        self,
        request: Request,
        sha256: str,
        chunk: Chunk,
        stored: Callable[[bool], bytes],
    ) -> Deferred[bytes]:
        chunk_id, data = chunk.id, chunk.data
        if len(data) < self._shares.smallest:
            return self._store.add_chunk(sha256, chunk_id, data, stored)
        adding = partial(self._store.add_chunk, sha256, chunk_id, data, stored)
        return self._write(request, len(data), adding)

    def _write(
        self, request: Request, size: int, write: Callable[[], Deferred[ResultT]]
    ) -> Deferred[ResultT]:
        """Write to the store, within the client's share of the queue."""
        if size < self._shares.smallest:
            return write()
        return self._shares.run(self.clients.key_of(request), size, write)

    async def _add_long_chunk(
        self,
        request: Request,
        sha256: str,
        body: bytes,
        stored: Callable[[bool], bytes],
    ) -> bytes:
        if request.getHeader(b"content-digest") is not None:
            digest = ContentDigest(request)
            await self._offload.in_thread(lambda: digest.check(body))
        steps = parse_long_chunk(body, self._limits)
        client = self.clients.key_of(request)
        chunk = await self._offload.in_slices(steps, client)
        return await self._add_chunk(request, sha256, chunk, stored)

    @app.route("/image/<sha256>/chunks", methods=["GET"])
    def status(self, request: Request, sha256: str) -> Deferred[bytes]:
        """Send the status of an image."""
        asked = self._store.status(parse_hash(sha256))
        return asked.addCallback(answer_status, request)

    @app.route("/image/<sha256>", methods=["PUT"])
    @streams_body
    async def upload(self, request: Request, sha256: str) -> bytes:
        """Receive a whole image."""
        self._begin_creation(request)
        sha256 = parse_hash(sha256)
        max_size = self._limits.max_image_size
        shared = partial(self._write, request)
        created = await receive_image(request, self._store, sha256, max_size, shared)
        if created.new:
            # Location has no meaning in a 200 (RFC 9110, section 10.2.2), and only a
            # new image gets a key.
            lines = _STORED_LINES % sha256.encode("ascii")
            key = created.edit_key
            _CREATED.apply(request, lines if key is None else lines + key.line)
        return b""

    @app.route("/", methods=["POST"])
    @streams_body
    def create(self, request: Request) -> Deferred[bytes]:
        """Store a file, or that of a form, under the hash that it has."""
        return self._create(request, "")

    @app.route("/", methods=["PUT"])
    @streams_body
    def create_by_put(self, request: Request) -> Deferred[bytes]:
        """Store a file under the hash that it has."""
        return self._create(request, "")

    @app.route("/<name>", methods=["PUT"])
    @streams_body
    def create_named(self, request: Request, name: str) -> Deferred[bytes]:
        """Store a file of some name under the hash that it has."""
        return self._create(request, name)

    def _create(self, request: Request, name: str) -> Deferred[bytes]:
        self._admission.create_file(request)
        base_url = self._public.base_url(request)
        shared = partial(self._write, request)
        client = self.clients.key_of(request)
        receiving = self._creations.receive(request, name, client, shared)
        created = Deferred.fromCoroutine(receiving)
        return created.addCallback(answer_created, request, base_url)

    @app.route("/image/<sha256>", methods=["DELETE"])
    async def delete(self, request: Request, sha256: str) -> bytes:
        """Delete an image or an upload, with its edit key or a token."""
        key_hash = self._admission.edit(request)
        await delete_image(request, self._store, parse_hash(sha256), key_hash)
        request.setResponseCode(204)
        return b""

    @app.route("/image/<sha256>", methods=["GET"])
    def download(self, request: Request, sha256: str) -> Deferred[bytes] | bytes:
        """Send an image."""
        hot = self._store.cached(sha256)
        if hot is not None:
            return self._downloads.answer(request, hot)
        opened = self._store.open(parse_hash(sha256))
        return opened.addCallback(self._send, request)

    def _send(self, reader: IImageReader, request: Request) -> Deferred[bytes] | bytes:
        return self._downloads.answer(request, reader)

    @app.route("/image/<sha256>/about", methods=["GET"])
    async def about(self, request: Request, sha256: str) -> bytes:
        """Send what is said about an image."""
        self._cors.mark(request)
        return await send_about(request, self._store, parse_hash(sha256))

    @app.route("/image/<sha256>/about", methods=["PUT"])
    async def set_about(self, request: Request, sha256: str) -> bytes:
        """Replace what is said about an image."""
        key_hash = self._admission.edit(request)
        sha256 = parse_hash(sha256)
        digested = require_json(request)
        body = body_of(request)
        if digested:
            check_content_digest(request, body)
        return await change_about(
            request,
            self._store,
            sha256,
            body,
            key_hash=key_hash,
            now=self._clock(),
        )

    @app.route("/", methods=["GET"])
    async def home(self, request: Request) -> bytes:
        """Send the gallery, or to a terminal how to use the service."""
        return await self._reading.home(request)

    @app.route("/random", methods=["GET"])
    async def random_image(self, request: Request) -> bytes:
        """Redirect to a random image."""
        self._cors.mark(request)
        return await self._reading.random(request)

    @app.route("/i/<name>", methods=["GET"])
    async def image_page(self, request: Request, name: str) -> bytes:
        """Send the page of an image, or the image in another format."""
        return await self._reading.image(request, name)

    @app.route("/i/<name>/embed", methods=["GET"])
    async def embed(self, request: Request, name: str) -> bytes:
        """Send an image for a frame of another site."""
        return await self._reading.embed(request, name)

    @app.route("/images", methods=["GET"])
    async def listing(self, request: Request) -> bytes:
        """Send a page of the listing."""
        self._cors.mark(request)
        return await self._reading.listing(request)

    @app.route("/feed.atom", methods=["GET"])
    async def feed(self, request: Request) -> bytes:
        """Send the feed of the newest images."""
        self._cors.mark(request)
        return await self._reading.feed(request)

    @app.route("/oembed", methods=["GET"])
    async def oembed(self, request: Request) -> bytes:
        """Send how to embed an image."""
        self._cors.mark(request)
        return await self._reading.oembed(request)

    @app.route("/upload", methods=["GET"])
    async def upload_page(self, request: Request) -> bytes:
        """Send the page that sends images."""
        return await self._reading.upload(request)

    @app.route("/robots.txt", methods=["GET"])
    def robots(self, request: Request) -> bytes:
        """Send what crawlers are asked to leave alone."""
        return self._reading.robots(request)

    @app.route("/favicon.svg", methods=["GET"])
    def icon(self, request: Request) -> bytes:
        """Send the icon."""
        return self._static.answer_icon(request)

    @app.route("/favicon.ico", methods=["GET"])
    def old_icon(self, request: Request) -> bytes:
        """Redirect to the icon; browsers that cannot show it ask for this."""
        return self._static.redirect_to_icon(request)

    @app.route("/static/<name>", methods=["GET"])
    def static_file(self, request: Request, name: str) -> bytes:
        """Send a file of the pages."""
        return self._static.answer(request, name)

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

    @app.handle_errors(Exception)  # type: ignore[arg-type]  # requests of any stack
    def _refused(self, request: Request, failure: Failure) -> bytes | Deferred[bytes]:
        """Respond to an exception of a handler or of routing."""
        error = failure.value
        if self._metrics_apart and request.path == b"/metrics":
            error = NotFound()
        if isinstance(error, MethodNotAllowed) and _is_free_name(request, error):
            error = NotFound()
        if isinstance(error, MethodNotAllowed) and request.method == b"OPTIONS":
            # No route has it: every path supports it.
            self._cors.answer_options(request, error.valid_methods or ())
            return b""
        problem = problem_for(error)
        if isinstance(error, ImageBlockedError) and request.method not in READS:
            problem = msgspec.structs.replace(problem, status=403)
        self.metrics.requests.refuse(problem.name)
        is_read = request.method in SHARED
        if not is_read:
            self._cors.mark(request)
        body = answer_problem(request, problem, failure, shared=is_read)
        if wants_problem_page(request, problem.status):
            return Deferred.fromCoroutine(self._reading.problem(request, problem, body))
        return body


def _is_free_name(request: Request, error: MethodNotAllowed) -> bool:
    """Return whether a read is of a path that only has PUT, as any name has."""
    is_read = request.method in (b"GET", b"HEAD")
    return is_read and list(error.valid_methods or ()) == ["PUT"]
