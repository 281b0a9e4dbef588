"""The Klein application: one short handler a route."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from asciid.api._problems import PROBLEM_JSON, problem_for
from asciid.api._schema import (
    InputLimits,
    parse_chunk,
    parse_hash,
    parse_registration,
    require_json,
)
from asciid.api._status import status_body, status_link
from asciid.api._streaming import send_range
from asciid.api._upload import receive_image
from asciid.http import body_of, streams_body

if TYPE_CHECKING:
    from twisted.python.failure import Failure
    from twisted.web.iweb import IRequest

    from asciid.api._request import Request
    from asciid.model import UploadStatus
    from asciid.store import IImageReader, IImageStore

__all__ = ["ImageAPI"]

TEXT = b"text/plain; charset=utf-8"

_log = Logger()


class ImageAPI:
    """
    The HTTP service in front of `store`; `app` is the Klein application.

    `max_image_size` and `max_chunk_size` are in bytes; what is larger is
    answered 413.
    """

    app = Klein()
    # A path with a doubled slash is another path, and gets 404 like any other.
    app.url_map.merge_slashes = False

    def __init__(
        self, store: IImageStore, *, max_image_size: int, max_chunk_size: int
    ) -> None:
        self._store = store
        self._limits = InputLimits(max_image_size, max_chunk_size)

    @property
    def body_limits(self) -> dict[str, int]:
        """The largest useful request body in bytes, by the name of the endpoint."""
        return {
            "register": self._limits.max_registration_body,
            "add_chunk": self._limits.max_chunk_body,
            "upload": self._limits.max_image_size,
        }

    @app.route("/image", methods=["POST"])
    def register(self, request: Request) -> Deferred[bytes]:
        """Register an image."""
        require_json(request)
        spec = parse_registration(body_of(request), self._limits)

        def registered(_: None) -> bytes:
            request.setResponseCode(201)
            request.setHeader(b"Location", b"/image/" + spec.sha256.encode("ascii"))
            return b""

        return self._store.register(spec).addCallback(registered)

    @app.route("/image/<sha256>/chunks", methods=["POST"])
    def add_chunk(self, request: Request, sha256: str) -> Deferred[bytes]:
        """Store a chunk."""
        sha256 = parse_hash(sha256)
        require_json(request)
        chunk = parse_chunk(body_of(request), self._limits)

        def stored(_: bool) -> bytes:  # noqa: FBT001 - a callback's result
            request.setResponseCode(201)
            request.setHeader(b"Link", status_link(sha256))
            return b""

        return self._store.add_chunk(sha256, chunk.id, chunk.data).addCallback(stored)

    @app.route("/image/<sha256>/chunks", methods=["GET"])
    def status(self, request: Request, sha256: str) -> Deferred[bytes]:
        """Tell what is stored of an image."""

        def found(status: UploadStatus) -> bytes:
            request.setHeader(b"Content-Type", b"application/json")
            request.setHeader(b"Cache-Control", b"no-store")
            return status_body(status)

        return self._store.status(parse_hash(sha256)).addCallback(found)

    @app.route("/image/<sha256>", methods=["PUT"])
    @streams_body
    async def upload(self, request: Request, sha256: str) -> bytes:
        """Take a whole image."""
        sha256 = parse_hash(sha256)
        max_size = self._limits.max_image_size
        new = await receive_image(request, self._store, sha256, max_size)
        request.setResponseCode(201 if new else 200)
        request.setHeader(b"Location", b"/image/" + sha256.encode("ascii"))
        return b""

    @app.route("/image/<sha256>", methods=["GET"])
    def download(self, request: Request, sha256: str) -> Deferred[bytes]:
        """Send a complete image."""
        opened = self._store.open(parse_hash(sha256))
        return opened.addCallback(self._send, request)

    def _send(self, reader: IImageReader, request: Request) -> Deferred[bytes] | bytes:
        size = reader.spec.size
        request.setHeader(b"Content-Type", TEXT)
        request.setHeader(b"Content-Length", b"%d" % size)
        if reader.content is not None:
            return reader.content
        if request.method == b"HEAD":
            return b""
        return Deferred.fromCoroutine(send_range(request, reader, 0, size)).addCallback(
            lambda _: b""
        )

    @app.handle_errors(Exception)
    def _refused(self, request: IRequest, failure: Failure) -> bytes:
        """Answer any exception of a handler, or of finding one."""
        problem = problem_for(failure.value)
        if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.failure("A request could not be answered", failure)
        body = problem.body
        request.setResponseCode(problem.status)
        request.setHeader(b"Content-Type", PROBLEM_JSON)
        request.setHeader(b"Content-Length", b"%d" % len(body))
        for name, value in problem.headers.items():
            request.setHeader(name, value)
        return body
