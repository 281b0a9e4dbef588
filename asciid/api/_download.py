"""GET and HEAD of an image (RFC 9110)."""

from __future__ import annotations

import time
from hashlib import sha512
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from asciid.api._conditions import is_not_modified, range_applies
from asciid.api._digests import digest_field, preferred_algorithm
from asciid.api._encodings import Encodings
from asciid.api._fields import all_lines
from asciid.api._negotiation import ANY_CODING, accepted_codings, takes_text
from asciid.api._ranges import Part, closing, content_range, multipart, parse_ranges
from asciid.api._refusals import NotAcceptableError, RangeNotSatisfiableError
from asciid.api._representation import TEXT, Representation
from asciid.api._streaming import PIECE, send_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.api._encodings import Encoded
    from asciid.api._negotiation import AcceptedCodings
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
        self._clock = clock
        self._encodings = Encodings()

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
        spec = reader.spec
        accept = header(b"accept")
        if accept is not None and not _takes_text(request, accept):
            raise NotAcceptableError
        accept_encoding = header(b"accept-encoding")
        codings = (
            ANY_CODING if accept_encoding is None else accepted_codings(accept_encoding)
        )
        ranges = None
        asked = header(b"range")
        if asked is not None and request.method == b"GET" and codings.identity:
            ranges = parse_ranges(asked, spec.size)
        encoded = None
        if ranges is None and accept_encoding is not None:
            encoded = self._encode(reader, codings)
        # Never later than Date (RFC 9110, section 8.8.2.1).
        modified = int(min(reader.completed, self._clock()))
        form = Representation(spec, modified, encoded)
        if is_not_modified(request, form.etag, modified):
            request.setResponseCode(304)
            form.set_kept_fields(request)
            return b""
        if ranges is not None and range_applies(request, form.etag, modified):
            if not ranges:
                raise RangeNotSatisfiableError(spec.size)
            return _send_ranges(request, reader, form, ranges)
        content = reader.content if encoded is None else encoded.content
        if content is None and request.method == b"GET" and spec.size:
            return _stream(
                request,
                reader,
                [Part(0, spec.size)],
                lambda: _set_fields(request, form, spec.size, None),
            )
        _set_fields(request, form, spec.size, content)
        return content or b""

    def _encode(self, reader: IImageReader, codings: AcceptedCodings) -> Encoded | None:
        for coding in codings.preferred:
            encoded = self._encodings.encode(reader, coding)
            if encoded is not None:
                return encoded
        if not codings.identity:
            raise NotAcceptableError
        return None


def _takes_text(request: Request, accept: bytes) -> bool:
    # Whoever takes text in the last line of the field is given it; to refuse,
    # all of them are read.
    return takes_text(accept) or takes_text(all_lines(request, b"accept"))


def _set_fields(
    request: Request, form: Representation, size: int, content: bytes | None
) -> None:
    """Set the fields of a 200; `content` are all `size` bytes if they are at hand."""
    form.set_fields(request, size if content is None else len(content))
    _set_digest(request, form, content)


def _set_digest(request: Request, form: Representation, content: bytes | None) -> None:
    if request.getHeader(b"want-repr-digest") is None:
        request.setHeader(b"Repr-Digest", form.digest)
        return
    algorithm = preferred_algorithm(all_lines(request, b"want-repr-digest"))
    if algorithm == b"sha-512" and content is not None and len(content) <= PIECE:
        digest = digest_field(algorithm, sha512(content).digest())
        request.setHeader(b"Repr-Digest", digest)
    elif algorithm is not None:
        request.setHeader(b"Repr-Digest", form.digest)


def _send_ranges(
    request: Request, reader: IImageReader, form: Representation, ranges: Ranges
) -> bytes | Deferred[bytes]:
    size = reader.spec.size
    content = reader.content
    end = b""
    if len(ranges) == 1:
        start, stop = ranges[0]
        parts = [Part(start, stop)]
        field = (b"Content-Range", content_range(start, stop, size))
    else:
        # No text can hold its own hash, so this is in none of the parts.
        boundary = reader.spec.sha256.encode("ascii")
        parts = multipart(ranges, size, boundary, TEXT)
        end = closing(boundary)
        field = (b"Content-Type", b"multipart/byteranges; boundary=" + boundary)
    length = sum(len(part.lead) + part.end - part.start for part in parts) + len(end)

    def begin() -> None:
        request.setResponseCode(206)
        form.set_fields(request, length)
        request.setHeader(*field)
        _set_digest(request, form, content)

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
