"""GET and HEAD of an image (RFC 9110)."""

from __future__ import annotations

import time
from hashlib import sha512
from typing import TYPE_CHECKING

from msgspec import Struct
from twisted.internet.defer import Deferred

from asciid.api._conditions import range_applies, unmodified_tag
from asciid.api._content_codings import ENCODABLE, Encodings
from asciid.api._digests import USUAL_DIGEST, digest_field
from asciid.api._negotiation import ANY_CODING
from asciid.api._ranges import Part, closing, content_range, multipart, parse_ranges
from asciid.api._refusals import NotAcceptableError, RangeNotSatisfiableError
from asciid.api._representation import TEXT, Representation
from asciid.api._selection import select
from asciid.api._sending import PIECE, ReadAhead, send_parts
from asciid.http import PreparedHead, encode_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.api._content_codings import Encoded
    from asciid.api._negotiation import AcceptedCodings
    from asciid.api._request_interface import Request
    from asciid.api._selection import Selection
    from asciid.runtime.offload import IOffload
    from asciid.store import IImageReader

__all__ = ["Downloads"]

Ranges = list[tuple[int, int]]


class _Kept(Struct, frozen=True):
    """The head of the usual response with an image that is in memory."""

    head: PreparedHead
    lines: bytes
    modified: int
    """Its Last-Modified, in seconds since the epoch."""


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
        self._read_ahead = ReadAhead()

    def answer(self, request: Request, reader: IImageReader) -> bytes | Deferred[bytes]:
        """
        Set the status and the header fields, and return the body.

        Ranges are always of the identity coding: a request for one gets no content
        coding.  Nothing is compressed for HEAD or for a response without a body.

        Errors: `NotAcceptableError`, `PreconditionFailedError`,
        `RangeNotSatisfiableError`, those of `IImageReader.read`; no header field is set
        then.
        """
        selection = select(request)
        if not selection.takes_text:
            raise NotAcceptableError
        spec = reader.spec
        codings = selection.codings
        ranges = coding = None
        if selection.ranges is not None and request.method == b"GET":
            ranges = parse_ranges(selection.ranges, spec.size)
        if ranges is None and codings is not ANY_CODING:
            coding = self._choose_coding(reader, codings)
        now = self._clock()
        if selection.is_conditional or ranges is not None:
            form = Representation(spec, reader.completed, now, coding)
            answer = self._answer_part(request, reader, form, selection, ranges)
            if answer is not None:
                return answer
        content = reader.content
        if coding is None and content is not None and selection.digest == USUAL_DIGEST:
            kept: _Kept | None = reader.kept
            # If the clock was set back, Last-Modified is the time of the response.
            if kept is not None and kept.modified <= now:
                kept.head.apply(request, kept.lines, spec.size)
                return content
        form = Representation(spec, reader.completed, now, coding)
        if coding is not None and content is not None:
            return self._answer_encoded(request, form, selection.digest, content)
        return self._send_whole(request, reader, form, selection.digest)

    def _choose_coding(
        self, reader: IImageReader, codings: AcceptedCodings
    ) -> bytes | None:
        content = reader.content
        if (
            codings.preferred
            and content is not None
            and len(content) in ENCODABLE
            # Waiting for a compression would take longer than it saves.
            and not (codings.identity and self._encodings.is_full)
        ):
            return codings.preferred[0]
        if not codings.identity:
            raise NotAcceptableError
        return None

    def _answer_encoded(
        self,
        request: Request,
        form: Representation,
        digest: bytes | None,
        content: bytes,
    ) -> bytes | Deferred[bytes]:
        sha256, coding = form.spec.sha256, form.coding or b""
        encoded = self._encodings.kept(sha256, coding)
        if encoded is not None:
            return _send_encoded(encoded, request, form, digest)
        if request.method == b"GET":
            encoding = self._encodings.encode(sha256, content, coding)
            return encoding.addCallback(_send_encoded, request, form, digest)
        # RFC 9110, section 9.3.2: fields that depend on the content are omitted.
        form.head(200).apply(request, form.lines(None))
        return b""

    def _answer_part(
        self,
        request: Request,
        reader: IImageReader,
        form: Representation,
        selection: Selection,
        ranges: Ranges | None,
    ) -> bytes | Deferred[bytes] | None:
        """Answer 304 or 206, or return None for a response with the whole image."""
        # Ranges are of the identity coding, so only its validators count.
        others = form.all_tags if ranges is None else tuple
        unmodified = unmodified_tag(request, form.etag, form.modified, others)
        if unmodified is not None:
            form.head(304).apply(request, form.kept_lines(unmodified))
            return b""
        if ranges is None:
            return None
        # The client may have received the image in another coding, with the same date.
        is_coded = selection.codings.preferred and form.spec.size in ENCODABLE
        modified = None if is_coded else form.modified
        if not range_applies(request, form.etag, modified):
            return None
        if not ranges:
            raise RangeNotSatisfiableError(form.spec.size)
        return self._send_ranges(request, reader, form, selection.digest, ranges)

    def _send_whole(
        self,
        request: Request,
        reader: IImageReader,
        form: Representation,
        digest: bytes | None,
    ) -> bytes | Deferred[bytes]:
        """Answer with an image in identity."""
        content, size = reader.content, form.spec.size
        head = form.head(200)
        lines = _lines(reader, form, digest)
        if content is not None and len(content) <= PIECE:
            modified = int(form.completed)
            # Otherwise the clock is behind, and Last-Modified will be another one.
            if digest == USUAL_DIGEST and modified <= form.now:
                reader.kept = _Kept(head, lines, modified)
            head.apply(request, lines, size)
            return content
        # Not in memory, or too large to be copied at once.

        def begin() -> None:
            head.apply(request, lines, size)

        if request.method == b"GET" and size:
            return self._stream(request, reader, [Part(0, size)], begin)
        begin()
        return b""

    def _send_ranges(
        self,
        request: Request,
        reader: IImageReader,
        form: Representation,
        digest: bytes | None,
        ranges: Ranges,
    ) -> bytes | Deferred[bytes]:
        size = reader.spec.size
        content = reader.content
        end = b""
        media_type = None
        lines = _lines(reader, form, digest)
        if len(ranges) == 1:
            start, stop = ranges[0]
            parts = [Part(start, stop)]
            field = (b"Content-Range", content_range(start, stop, size))
            lines += encode_fields((field,))
        else:
            # No text contains its own hash, so this occurs in none of the parts.
            boundary = reader.spec.sha256.encode("ascii")
            parts = multipart(ranges, size, boundary, TEXT)
            end = closing(boundary)
            media_type = b"multipart/byteranges; boundary=" + boundary
        length = len(end) + sum(
            len(part.lead) + part.end - part.start for part in parts
        )

        def begin() -> None:
            form.head(206).apply(request, lines, length)
            if media_type is not None:
                request.setHeader(b"Content-Type", media_type)

        if content is None or length > PIECE:
            return self._stream(request, reader, parts, begin, end)
        begin()
        pieces = [part.lead + content[part.start : part.end] for part in parts]
        return b"".join(pieces) + end

    def _stream(
        self,
        request: Request,
        reader: IImageReader,
        parts: list[Part],
        begin: Callable[[], None],
        end: bytes = b"",
    ) -> Deferred[bytes]:
        sending = send_parts(
            request, reader, parts, begin, end, read_ahead=self._read_ahead
        )
        return Deferred.fromCoroutine(sending).addCallback(lambda _: b"")


def _lines(reader: IImageReader, form: Representation, digest: bytes | None) -> bytes:
    """Return the lines of an image in identity."""
    content = reader.content
    if content is not None and len(content) > PIECE:
        content = None  # would take too long to hash
    return form.lines(_digest(digest, bytes.fromhex(form.spec.sha256), content))


def _send_encoded(
    encoded: Encoded, request: Request, form: Representation, digest: bytes | None
) -> bytes:
    content = encoded.content
    field = _digest(digest, encoded.digest, content)
    form.head(200).apply(request, form.lines(field), len(content))
    return content


def _digest(
    algorithm: bytes | None, sha_256: bytes, content: bytes | None
) -> bytes | None:
    """Return Repr-Digest; `content` has the SHA-256 `sha_256`, if available."""
    if algorithm is None:
        return None
    if algorithm == b"sha-512" and content is not None:
        return digest_field(algorithm, sha512(content).digest())
    return digest_field(b"sha-256", sha_256)
