"""Sends what the renderer made: header fields, conditions, codings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen
from twisted.internet.defer import Deferred, succeed

from asciid.api._conditions import unmodified_tag
from asciid.api._cors import READ_FIELDS
from asciid.api._negotiation import accepted_codings
from asciid.api._ranges import Part
from asciid.api._sending import PIECE, send_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from asciid.api._request_interface import Request
    from asciid.web.jobs import Rendered

__all__ = [
    "CSS",
    "FRAME",
    "HTML",
    "NOINDEX",
    "PNG",
    "SVG",
    "RenderedKind",
    "answer_rendering",
    "send_body",
    "set_page_fields",
]

_PAGE_POLICY = (
    b"default-src 'none'; style-src 'self'; script-src 'self'; font-src 'self'; "
    b"img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    b"frame-ancestors 'none'"
)
_FRAME_POLICY = (
    b"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'none'; "
    b"base-uri 'none'; frame-ancestors *"
)
NOINDEX = (b"X-Robots-Tag", b"noindex")
"""Keeps search engines away."""

_FILE_POLICY = b"default-src 'none'; frame-ancestors 'none'; sandbox"


@frozen
class RenderedKind:
    """What is rendered, and how browsers are to treat it."""

    name: str
    content_type: bytes
    policy: bytes
    """The Content-Security-Policy."""
    shared: bool = False
    """Whether pages of other sites may read it."""
    compressed: bool = True
    """Whether it is sent in a content coding to clients that accept one."""


HTML = RenderedKind("html", b"text/html; charset=utf-8", _PAGE_POLICY)
FRAME = RenderedKind("frame", b"text/html; charset=utf-8", _FRAME_POLICY)
SVG = RenderedKind("svg", b"image/svg+xml", _FILE_POLICY, shared=True)
PNG = RenderedKind("png", b"image/png", _FILE_POLICY, shared=True, compressed=False)
CSS = RenderedKind("css", b"text/css; charset=utf-8", _FILE_POLICY, shared=True)


def set_page_fields(request: Request, kind: RenderedKind) -> None:
    """Set the fields that say what a response is, and what it may do."""
    request.setHeader(b"Content-Type", kind.content_type)
    request.setHeader(b"Content-Security-Policy", kind.policy)
    request.setHeader(b"X-Content-Type-Options", b"nosniff")
    # Not "no-referrer": with it a form has no Origin, which uploads are checked by.
    request.setHeader(b"Referrer-Policy", b"same-origin")


async def answer_rendering(  # noqa: PLR0913 - what a response depends on
    request: Request,
    kind: RenderedKind,
    *,
    key: str,
    cache_control: bytes,
    vary: bytes = b"",
    noindex: bool = False,
    render: Callable[[], Coroutine[Deferred[object], object, Rendered]],
) -> bytes:
    """
    Answer a GET or HEAD with a rendering, and return the body.

    `key` identifies it: two with the same key have the same bytes.  `vary` has fields
    of the request that the response depends on besides Accept-Encoding; `noindex` keeps
    search engines away.

    Errors: `PreconditionFailedError`, those of `render`; no field is set then.
    """
    accept_encoding = request.getHeader(b"accept-encoding")
    coded = (
        kind.compressed
        and accept_encoding is not None
        and b"gzip" in accepted_codings(accept_encoding).preferred
    )
    plain_tag = f'"{key}"'.encode("ascii")
    coded_tag = f'"{key}-gzip"'.encode("ascii")
    etag = coded_tag if coded else plain_tag
    unmodified = unmodified_tag(request, etag, others=lambda: (plain_tag, coded_tag))

    def set_kept(tag: bytes) -> None:
        """Set the fields that a 304 has, too (RFC 9110, section 15.4.5)."""
        request.setHeader(b"ETag", tag)
        request.setHeader(b"Cache-Control", cache_control)
        varying = [*filter(None, (vary, b"Accept-Encoding" * kind.compressed))]
        if varying:
            request.setHeader(b"Vary", b", ".join(varying))
        if noindex:
            request.setHeader(*NOINDEX)
        if kind.shared:
            for name, value in READ_FIELDS:
                request.setHeader(name, value)

    if unmodified is not None:
        request.setResponseCode(304)
        set_kept(unmodified)
        return b""
    rendered = await render()
    body = rendered.gzip if coded else rendered.body

    def begin() -> None:
        set_kept(etag)
        set_page_fields(request, kind)
        if coded:
            request.setHeader(b"Content-Encoding", b"gzip")

    return await send_body(request, body, begin)


async def send_body(
    request: Request, body: bytes, begin: Callable[[], None] = lambda: None
) -> bytes:
    """
    Send a body of any size in pieces; `begin` sets the header fields.

    Return what is left to be sent at once.
    """
    if len(body) <= PIECE or request.method == b"HEAD":
        begin()
        request.setHeader(b"Content-Length", b"%d" % len(body))
        return b"" if request.method == b"HEAD" else body

    def begin_parts() -> None:
        begin()
        request.setHeader(b"Content-Length", b"%d" % len(body))

    await send_parts(request, _Held(body), [Part(0, len(body))], begin_parts)
    return b""


@frozen
class _Held:
    """A body in memory, read like an image."""

    body: bytes

    def read(self, start: int, end: int) -> Deferred[bytes]:
        """Return a part."""
        return succeed(self.body[start:end])

    def read_ranges(
        self, ranges: Sequence[tuple[int, int]]
    ) -> Deferred[Sequence[bytes]]:
        """Return several parts."""
        return succeed([self.body[start:end] for start, end in ranges])
