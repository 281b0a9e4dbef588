"""
What a request may say: every rule about input is here.

Numbers must be JSON integers (no booleans, no fractions); members that are not
named here are ignored.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
from attrs import frozen

from asciid.api._refusals import (
    ChunkTooLargeError,
    ImageTooLargeError,
    MalformedRequestError,
    NotJSONError,
)
from asciid.model import MAX_CHUNKS, ImageSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.api._request import Request

__all__ = [
    "Chunk",
    "InputLimits",
    "is_utf8_text",
    "parse_chunk",
    "parse_hash",
    "parse_registration",
    "require_json",
]

T = TypeVar("T")

_SHA256 = r"\A[0-9a-fA-F]{64}\Z"
_match_sha256 = re.compile(_SHA256).match
_find_charset = re.compile(rb"charset\s*=\s*\"?([^\s;\"]*)", re.IGNORECASE).search

# The largest body of a registration: its three members, spelled with every
# character escaped, some white space, and room for members that are ignored.
MAX_REGISTRATION_BODY = 16 * 1024


@frozen
class InputLimits:
    """How much a client may send; more is answered 413."""

    max_image_size: int
    """Bytes of an image."""
    max_chunk_size: int
    """Bytes of a chunk."""

    @property
    def max_registration_body(self) -> int:
        """Bytes of a registration's JSON."""
        return MAX_REGISTRATION_BODY

    @property
    def max_chunk_body(self) -> int:
        r"""
        Bytes of a chunk's JSON.

        A control character is one byte of the image and six of JSON
        (``\\u001b``).
        """
        return 6 * self.max_chunk_size + MAX_REGISTRATION_BODY


_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Registration(msgspec.Struct, gc=False):
    sha256: Annotated[str, msgspec.Meta(pattern=_SHA256)]
    size: _Count
    chunk_size: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class _Chunk(msgspec.Struct, gc=False):
    id: _Count
    size: _Count
    data: str


@frozen
class Chunk:
    """A chunk as a client sends it."""

    id: int
    data: bytes


_decode_registration = msgspec.json.Decoder(_Registration).decode
_decode_chunk = msgspec.json.Decoder(_Chunk).decode


def require_json(request: Request) -> None:
    """
    Refuse a request whose body is not said to be JSON (RFC 9110, section 8.3).

    Errors: `NotJSONError`.
    """
    content_type = request.getHeader(b"content-type")
    if content_type == b"application/json":
        return
    if not _is_utf8(content_type or b"", b"application/json"):
        raise NotJSONError


def is_utf8_text(content_type: bytes) -> bool:
    """Tell whether a Content-Type field says plain text in UTF-8."""
    return _is_utf8(content_type, b"text/plain")


def _is_utf8(content_type: bytes, expected: bytes) -> bool:
    media_type, _, parameters = content_type.partition(b";")
    charset = _find_charset(parameters)
    return media_type.strip().lower() == expected and (
        charset is None or charset[1].lower() in (b"utf-8", b"utf8")
    )


def parse_hash(text: str) -> str:
    """
    Return the hash in a path, in lower case.

    Errors: `MalformedRequestError`.
    """
    if _match_sha256(text) is None:
        detail = "An image is named by its SHA-256: 64 hex digits."
        raise MalformedRequestError(detail)
    return text.lower()


def parse_registration(body: bytes, limits: InputLimits) -> ImageSpec:
    """
    Read the body of a registration.

    Errors: `MalformedRequestError`, `ImageTooLargeError`, `ChunkTooLargeError`.
    """
    registration = _decode(_decode_registration, body)
    spec = ImageSpec(
        registration.sha256.lower(), registration.size, registration.chunk_size
    )
    if spec.size > limits.max_image_size:
        raise ImageTooLargeError(limit=limits.max_image_size, actual=spec.size)
    if spec.chunk_size > limits.max_chunk_size:
        raise ChunkTooLargeError(limit=limits.max_chunk_size, actual=spec.chunk_size)
    if spec.chunks > MAX_CHUNKS:
        detail = f"An image may have {MAX_CHUNKS} chunks, not {spec.chunks}."
        raise MalformedRequestError(detail)
    return spec


def parse_chunk(body: bytes, limits: InputLimits) -> Chunk:
    """
    Read the body of a chunk.

    Errors: `MalformedRequestError`, `ChunkTooLargeError`.
    """
    chunk = _decode(_decode_chunk, body)
    data = chunk.data.encode("utf-8")
    if len(data) > limits.max_chunk_size:
        raise ChunkTooLargeError(limit=limits.max_chunk_size, actual=len(data))
    if len(data) != chunk.size:
        detail = f"`size` is {chunk.size}, and `data` is {len(data)} bytes of UTF-8."
        raise MalformedRequestError(detail)
    return Chunk(chunk.id, data)


def _decode(decode: Callable[[bytes], T], body: bytes) -> T:
    try:
        if not body.isascii():
            # The decoder skips what it is not asked for without looking at it.
            body.decode("utf-8")
        return decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise MalformedRequestError(str(error)) from error
