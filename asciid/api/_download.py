"""GET and HEAD of an image (RFC 9110)."""

from __future__ import annotations

import time
from hashlib import sha512
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from asciid.api._conditions import is_not_modified, range_applies
from asciid.api._digests import digest_field, preferred_algorithm
from asciid.api._fields import all_lines
from asciid.api._negotiation import ANY_CODING, accepted_codings, takes_text
from asciid.api._ranges import Part, closing, content_range, multipart, parse_ranges
from asciid.api._refusals import NotAcceptableError, RangeNotSatisfiableError
from asciid.api._representation import TEXT, Representations
from asciid.api._streaming import PIECE, send_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.api._negotiation import AcceptedCodings
    from asciid.api._representation import Image, Representation
    from asciid.api._request import Request
    from asciid.store import IImageReader

__all__ = ["Downloads"]

Ranges = list[tuple[int, int]]


class Downloads:
    """
    Answers the requests for images.

    `clock` tells the time in seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._representations = Representations(clock)

    def answer(self, request: Request, reader: IImageReader) -> bytes | Deferred[bytes]:
        """
        Set the status and the header fields, and return the body.

        A range is always one of the image as it is: a client that asks for one
        gets no content coding.

        Errors: `NotAcceptableError`, `PreconditionFailedError`,
        `RangeNotSatisfiableError`, and those of `IImageReader.read`; no header
        field is set then.
        """
        header = request.getHeader
        image = self._representations.of(reader)
        accept = header(b"accept")
        if accept is not None and not _accepts_text(request, accept):
            raise NotAcceptableError
        accept_encoding = header(b"accept-encoding")
        codings = (
            ANY_CODING if accept_encoding is None else accepted_codings(accept_encoding)
        )
        ranges = None
        asked = header(b"range")
        if asked is not None and request.method == b"GET" and codings.identity:
            ranges = parse_ranges(asked, image.size)
        chosen = image.identity
        if ranges is None and accept_encoding is not None:
            chosen = self._choose(image, reader, codings)
        if is_not_modified(request, chosen.etag, image.modified):
            request.setResponseCode(304)
            _set_fields(request, chosen.kept_fields)
            return b""
        if ranges is not None and range_applies(request, chosen.etag, image.modified):
            if not ranges:
                raise RangeNotSatisfiableError(image.size)
            return _send_ranges(request, reader, image, ranges)
        if chosen.content is not None:
            _begin(request, chosen, chosen.content)
            return chosen.content
        if reader.content is not None:
            _begin(request, chosen, reader.content)
            return reader.content
        if request.method == b"HEAD" or not image.size:
            _begin(request, chosen, None)
            return b""
        return _stream(
            request,
            reader,
            [Part(0, image.size)],
            lambda: _begin(request, chosen, None),
        )

    def _choose(
        self, image: Image, reader: IImageReader, codings: AcceptedCodings
    ) -> Representation:
        for coding in codings.preferred:
            encoded = self._representations.encode(image, reader, coding)
            if encoded is not None:
                return encoded
        if not codings.identity:
            raise NotAcceptableError
        return image.identity


def _accepts_text(request: Request, accept: bytes) -> bool:
    # Whoever takes text in the last line of the field is given it; to refuse,
    # all of them are read.
    return takes_text(accept) or takes_text(all_lines(request, b"accept"))


def _set_fields(request: Request, fields: tuple[tuple[bytes, bytes], ...]) -> None:
    for name, value in fields:
        request.setHeader(name, value)


def _begin(request: Request, chosen: Representation, content: bytes | None) -> None:
    """Set the fields of a 200; `content` are all its bytes if they are at hand."""
    _set_fields(request, chosen.fields)
    wanted = request.getHeader(b"want-repr-digest")
    if wanted is None:
        request.setHeader(b"Repr-Digest", chosen.digest)
        return
    algorithm = preferred_algorithm(all_lines(request, b"want-repr-digest"))
    if algorithm == b"sha-512" and content is not None and len(content) <= PIECE:
        digest = digest_field(algorithm, sha512(content).digest())
        request.setHeader(b"Repr-Digest", digest)
    elif algorithm is not None:
        request.setHeader(b"Repr-Digest", chosen.digest)


def _send_ranges(
    request: Request, reader: IImageReader, image: Image, ranges: Ranges
) -> bytes | Deferred[bytes]:
    size = image.size
    end = b""
    if len(ranges) == 1:
        start, stop = ranges[0]
        parts = [Part(start, stop)]
        fields = [(b"Content-Range", content_range(start, stop, size))]
    else:
        # No text can hold its own hash, so this is in none of the parts.
        boundary = image.sha256.encode("ascii")
        parts = multipart(ranges, size, boundary, TEXT)
        end = closing(boundary)
        media_type = b"multipart/byteranges; boundary=" + boundary
        fields = [(b"Content-Type", media_type)]
    length = sum(len(part.lead) + part.end - part.start for part in parts) + len(end)
    fields.append((b"Content-Length", b"%d" % length))

    def begin() -> None:
        request.setResponseCode(206)
        _begin(request, image.identity, reader.content)
        _set_fields(request, tuple(fields))

    content = reader.content
    if content is None or length > PIECE:
        return _stream(request, reader, parts, begin, end)
    begin()
    pieces = [part.lead + content[part.start : part.end] for part in parts]
    return b"".join(pieces) + end


def _stream(
    request: Request,
    reader: IImageReader,
    parts: list[Part],
    begin: Callable[[], None],
    end: bytes = b"",
) -> Deferred[bytes]:
    sending = send_parts(request, reader, parts, begin, end)
    return Deferred.fromCoroutine(sending).addCallback(lambda _: b"")
