"""GET and HEAD of an image (RFC 9110)."""

from __future__ import annotations

import time
from hashlib import sha512
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from asciid.api._conditions import last_modified, range_applies, unmodified_tag
from asciid.api._content_codings import Encodings, is_encodable
from asciid.api._digests import digest_field, preferred_algorithm
from asciid.api._list_fields import all_lines
from asciid.api._negotiation import ANY_CODING, accepted_codings, takes_text
from asciid.api._ranges import Part, closing, content_range, multipart, parse_ranges
from asciid.api._refusals import NotAcceptableError, RangeNotSatisfiableError
from asciid.api._representation import TEXT, Representation
from asciid.api._sending import PIECE, send_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.api._content_codings import Encoded
    from asciid.api._negotiation import AcceptedCodings
    from asciid.api._request_interface import Request
    from asciid.model import ImageSpec
    from asciid.runtime.offload import IOffload
    from asciid.store import IImageReader

__all__ = ["Downloads"]

Ranges = list[tuple[int, int]]


class Downloads:
    """
    Responds to requests for images.

    `offload` compresses; `clock` returns the time in seconds since the epoch.
    """

    def __init__(
        self, offload: IOffload, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._encodings = Encodings(offload)

    def answer(self, request: Request, reader: IImageReader) -> bytes | Deferred[bytes]:
        """
        Set the status and the header fields, and return the body.

        Ranges are always of the identity coding: a request for one gets no content
        coding.  Nothing is compressed for HEAD or for a response without a body.

        Errors: `NotAcceptableError`, `PreconditionFailedError`,
        `RangeNotSatisfiableError`, those of `IImageReader.read`; no header field is set
        then.
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
        coding = None
        if ranges is None and accept_encoding is not None:
            coding = self._choose_coding(reader, codings)
        modified = last_modified(reader.completed, self._clock())
        form = Representation(spec, modified, coding)
        # Ranges are of the identity coding, so only its validators count.
        others = form.all_tags if ranges is None else tuple
        unmodified = unmodified_tag(request, form.etag, modified, others)
        if unmodified is not None:
            request.setResponseCode(304)
            form.set_kept_fields(request, unmodified)
            return b""
        if ranges is not None and range_applies(
            request,
            form.etag,
            None if codings.preferred and is_encodable(spec.size) else modified,
        ):
            if not ranges:
                raise RangeNotSatisfiableError(spec.size)
            return _send_ranges(request, reader, form, ranges)
        content = reader.content
        if coding is not None and content is not None:
            return self._answer_encoded(request, form, coding, content)
        if content is not None and len(content) > PIECE:
            content = None  # too large to be copied at once
        if content is None and request.method == b"GET" and spec.size:
            return _stream(
                request,
                reader,
                [Part(0, spec.size)],
                lambda: _set_fields(request, form, spec, None),
            )
        _set_fields(request, form, spec, content)
        return content or b""

    def _choose_coding(
        self, reader: IImageReader, codings: AcceptedCodings
    ) -> bytes | None:
        content = reader.content
        if (
            codings.preferred
            and content is not None
            and is_encodable(len(content))
            # Waiting for a compression would take longer than it saves.
            and not (codings.identity and self._encodings.is_full)
        ):
            return codings.preferred[0]
        if not codings.identity:
            raise NotAcceptableError
        return None

    def _answer_encoded(
        self, request: Request, form: Representation, coding: bytes, content: bytes
    ) -> bytes | Deferred[bytes]:
        encoded = self._encodings.kept(form.sha256, coding)
        if encoded is not None:
            return _send_encoded(encoded, request, form)
        if request.method == b"GET":
            encoding = self._encodings.encode(form.sha256, content, coding)
            return encoding.addCallback(_send_encoded, request, form)
        # RFC 9110, section 9.3.2: fields that depend on the content are omitted.
        form.set_fields(request, None)
        return b""


def _takes_text(request: Request, accept: bytes) -> bool:
    # The last line is enough to accept; all lines are needed to refuse.
    return takes_text(accept) or takes_text(all_lines(request, b"accept"))


def _set_fields(
    request: Request, form: Representation, spec: ImageSpec, content: bytes | None
) -> None:
    """Set the fields of a 200; `content` has all bytes of the image if available."""
    form.set_fields(request, spec.size)
    _set_digest(request, bytes.fromhex(spec.sha256), content)


def _send_encoded(encoded: Encoded, request: Request, form: Representation) -> bytes:
    content = encoded.content
    form.set_fields(request, len(content))
    _set_digest(request, encoded.digest, content)
    return content


def _set_digest(request: Request, sha_256: bytes, content: bytes | None) -> None:
    """Set Repr-Digest; `content` has the SHA-256 `sha_256`, if available."""
    if request.getHeader(b"want-repr-digest") is None:
        request.setHeader(b"Repr-Digest", digest_field(b"sha-256", sha_256))
        return
    algorithm = preferred_algorithm(all_lines(request, b"want-repr-digest"))
    if algorithm == b"sha-512" and content is not None and len(content) <= PIECE:
        digest = digest_field(algorithm, sha512(content).digest())
        request.setHeader(b"Repr-Digest", digest)
    elif algorithm is not None:
        request.setHeader(b"Repr-Digest", digest_field(b"sha-256", sha_256))


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
        # No text contains its own hash, so this occurs in none of the parts.
        boundary = reader.spec.sha256.encode("ascii")
        parts = multipart(ranges, size, boundary, TEXT)
        end = closing(boundary)
        field = (b"Content-Type", b"multipart/byteranges; boundary=" + boundary)
    length = sum(len(part.lead) + part.end - part.start for part in parts) + len(end)

    def begin() -> None:
        request.setResponseCode(206)
        form.set_fields(request, length)
        request.setHeader(*field)
        _set_digest(request, bytes.fromhex(reader.spec.sha256), content)

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
