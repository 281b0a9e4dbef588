"""
What a request may say: every rule about input is here.

Numbers must be JSON integers (no booleans, no fractions); members that are not
named here are ignored.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
from attrs import frozen

from asciid.api._list_fields import all_lines
from asciid.api._long_json import MAX_REST, MalformedPieceError, take_long_string
from asciid.api._refusals import (
    ChunkTooLargeError,
    EncodedBodyError,
    ImageTooLargeError,
    MalformedRequestError,
    MultipartBodyError,
    NotJSONError,
    NotUTF8Error,
)
from asciid.model import MAX_CHUNKS, ImageSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from asciid.api._request_interface import Request

__all__ = [
    "LONG_BODY",
    "Chunk",
    "InputLimits",
    "parse_chunk",
    "parse_hash",
    "parse_long_chunk",
    "parse_registration",
    "require_image",
    "require_json",
]

T = TypeVar("T")

_SHA256 = r"\A[0-9a-fA-F]{64}\Z"
_match_sha256 = re.compile(_SHA256).match
_find_charset = re.compile(rb"charset\s*=\s*\"?([^\s;\"]*)", re.IGNORECASE).search
_find_offset = re.compile(r"\(byte (\d+)\)").sub
_is_json_type = re.compile(rb"application/(?:[^\s/]+\+)?json").fullmatch

# All of a body up to the first escape that is half of a surrogate pair and stands
# alone (RFC 8259, section 8.2).
_find_lone_surrogate = re.compile(
    rb"(?:[^\\]++|\\(?:[^u]|u(?![dD][89a-fA-F])"
    rb"|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))*+(?=\\u)"
).match
_MAX_SUSPECTS = 256
_MAX_ESCAPES = 4 * 1024
"""Escapes in a body in which that is searched for; it takes 0.1 us for each."""

# In more of them such an escape is looked for by itself, which is quick, and misses one
# behind a pair's first half that is not an escape but text.
_find_lone_surrogates = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|[c-fC-F](?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F]))"
).finditer

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


LONG_BODY = 64 * 1024
"""Bytes of JSON that can be decoded in a third of a millisecond."""

_TOO_MUCH = f"Beside `data` a chunk may have {MAX_REST} bytes of JSON."

_REPLACEMENT = "\ufffd".encode()
_CUT_ADVICE = (
    "If the chunk was cut within a character, cut the image elsewhere, or send it "
    "whole with PUT /image/<sha256>."
)

_decode_registration = msgspec.json.Decoder(_Registration).decode
_decode_chunk = msgspec.json.Decoder(_Chunk).decode


def require_json(request: Request) -> None:
    """
    Refuse a request whose body is not said to be JSON (RFC 9110, section 8.3).

    A missing type is refused, too, and so are those that a page of any site may send
    without asking first (Fetch, section 2.2.2): JSON is not one of them.

    Errors: `NotJSONError`, `EncodedBodyError`.
    """
    content_type = request.getHeader(b"content-type")
    if content_type != b"application/json" and not _is_json(content_type or b""):
        raise NotJSONError
    _require_bare(request)


def require_image(request: Request) -> None:
    """
    Refuse a request whose body cannot be an image.

    Its hash and its UTF-8 decide that; of the Content-Type, which many clients fill in
    by themselves, only `multipart/*` is refused.

    Errors: `MultipartBodyError`, `EncodedBodyError`.
    """
    content_type = request.getHeader(b"content-type") or b""
    if content_type.lstrip().lower().startswith(b"multipart/"):
        raise MultipartBodyError
    _require_bare(request)


def _require_bare(request: Request) -> None:
    if request.getHeader(b"content-encoding") is None:
        return
    codings = all_lines(request, b"content-encoding").lower().split(b",")
    if not {coding.strip() for coding in codings} <= {b"", b"identity"}:
        raise EncodedBodyError


def _is_json(content_type: bytes) -> bool:
    media_type, _, parameters = content_type.partition(b";")
    charset = _find_charset(parameters)
    return _is_json_type(media_type.strip().lower()) is not None and (
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

    Errors: `MalformedRequestError`, `NotUTF8Error`, `ImageTooLargeError`,
    `ChunkTooLargeError`.
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
    Read the body of a chunk; one of more than `LONG_BODY` bytes takes long.

    Errors: `MalformedRequestError`, `NotUTF8Error`, `ChunkTooLargeError`.
    """
    chunk = _decode(_decode_chunk, body, _CUT_ADVICE)
    return _check_chunk(chunk, chunk.data.encode("utf-8"), limits)


def parse_long_chunk(body: bytes, limits: InputLimits) -> Generator[None, None, Chunk]:
    """
    Do what `parse_chunk` does, in steps for `asciid.runtime.offload`.

    Beside `data` there may be no more than `MAX_REST` bytes.
    """
    try:
        long = yield from take_long_string(body)
    except UnicodeDecodeError as error:
        raise NotUTF8Error(error.start, "invalid byte", _CUT_ADVICE) from error
    except MalformedPieceError as error:
        raise _malformed(str(error), error.piece, _CUT_ADVICE, error.start) from error
    if long is None:
        raise MalformedRequestError(_TOO_MUCH)
    try:
        chunk = _decode_chunk(long.rest)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        detail = _moved(str(error), long.removed, beyond=long.start)
        raise MalformedRequestError(detail) from error
    if chunk.data != long.mark:
        raise MalformedRequestError(_TOO_MUCH)
    return _check_chunk(chunk, long.content, limits)


def _check_chunk(chunk: _Chunk, data: bytes, limits: InputLimits) -> Chunk:
    """Return the chunk, whose text is `data` in UTF-8, if it is as long as it says."""
    if len(data) > limits.max_chunk_size:
        raise ChunkTooLargeError(limit=limits.max_chunk_size, actual=len(data))
    if len(data) != chunk.size:
        detail = f"`size` is {chunk.size}, and `data` is {len(data)} bytes of UTF-8."
        if data.startswith(_REPLACEMENT) or data.endswith(_REPLACEMENT):
            # What decoders make of half a character.
            detail = f"{detail} {_CUT_ADVICE}"
        raise MalformedRequestError(detail)
    return Chunk(chunk.id, data)


def _decode(decode: Callable[[bytes], T], body: bytes, advice: str = "") -> T:
    try:
        if not body.isascii():
            # The decoder skips what it is not asked for without looking at it.
            body.decode("utf-8")
        return decode(body)
    except UnicodeDecodeError as error:
        raise NotUTF8Error(error.start, "invalid byte", advice) from error
    except RecursionError as error:
        detail = "The JSON is nested too deeply."
        raise MalformedRequestError(detail) from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise _malformed(str(error), body, advice) from error


def _malformed(
    reason: str, json: bytes, advice: str, start: int = 0
) -> MalformedRequestError | NotUTF8Error:
    """Return what is wrong with `json`, which begins at the offset `start`."""
    offset = _lone_surrogate(json)
    if offset is not None:
        return NotUTF8Error(start + offset, "lone surrogate", advice)
    return MalformedRequestError(_moved(reason, start))


def _lone_surrogate(json: bytes) -> int | None:
    """Return the offset of an escape that is half of a surrogate pair, if there is."""
    if json.count(b"\\") <= _MAX_ESCAPES:
        found = _find_lone_surrogate(json)
        return None if found is None else found.end()
    for match in islice(_find_lone_surrogates(json), _MAX_SUSPECTS):
        at = match.start()
        before = json[max(0, at - _MAX_SUSPECTS) : at]
        # Behind an odd number of backslashes it is text.
        if (len(before) - len(before.rstrip(b"\\"))) % 2 == 0:
            return at
    return None


def _moved(reason: str, distance: int, beyond: int = -1) -> str:
    """Add `distance` to an offset in `reason` that is larger than `beyond`."""

    def move(match: re.Match[str]) -> str:
        offset = int(match[1])
        return f"(byte {offset + distance * (offset > beyond)})"

    return _find_offset(move, reason)
