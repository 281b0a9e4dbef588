"""
Validation of requests: all rules on input.

Numbers must be JSON integers (no booleans, no fractions); unknown members are ignored.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec

from asciid.api._about_fields import parse_expires, parse_origin
from asciid.api._forms import is_form, is_multipart
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
    UnsupportedCharsetError,
)
from asciid.api._text_upload import require_charset
from asciid.art.encodings import AUTO
from asciid.http import cached_by_fields
from asciid.model import MAX_CHUNKS, About, ImageSpec, NewImage
from asciid.store import check_about

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from asciid.api._request_interface import Request
    from asciid.net.body_limits import InputLimits

__all__ = [
    "LONG_BODY",
    "Chunk",
    "charset_in",
    "new_image",
    "parse_about_document",
    "parse_chunk",
    "parse_hash",
    "parse_long_chunk",
    "parse_registration",
    "require_image",
    "require_json",
    "require_upload",
]

T = TypeVar("T")

_SHA256 = r"\A[0-9a-fA-F]{64}\Z"
_DIGITS = 64
_find_charset = re.compile(rb"charset\s*=\s*\"?([^\s;\"]*)", re.IGNORECASE).search
_find_offset = re.compile(r"\(byte (\d+)\)").sub
_is_json_type = re.compile(rb"application/(?:[^\s/]+\+)?json").fullmatch

# A body up to the first escape of a lone surrogate (RFC 8259, section 8.2).
_find_lone_surrogate = re.compile(
    rb"(?:[^\\]++|\\(?:[^u]|u(?![dD][89a-fA-F])"
    rb"|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))*+(?=\\u)"
).match
_MAX_SUSPECTS = 256
_MAX_ESCAPES = 4 * 1024
"""Maximum escapes in a body for that search, which takes 0.1 us for each."""

# With more escapes a faster search is used, which misses a lone surrogate after text
# that looks like the first half of a pair.
_find_lone_surrogates = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|[c-fC-F](?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F]))"
).finditer

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _About(msgspec.Struct, gc=False):
    title: str = ""
    description: str = ""
    author: str = ""
    licence: str = ""
    tags: list[str] = []
    listed: bool | None = None
    expires: str | None = None


class _Registration(msgspec.Struct, gc=False):
    sha256: Annotated[str, msgspec.Meta(pattern=_SHA256)]
    size: _Count
    chunk_size: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    edit_key: bool = False
    listed: bool | None = None
    about: _About | None = None
    charset: str = ""

    @property
    def brings_nothing(self) -> bool:
        """Whether there is nothing besides what is registered."""
        return (
            self.about is None
            and self.listed is None
            and not self.edit_key
            and not self.charset
        )


class _Chunk(msgspec.Struct, gc=False):
    id: _Count
    size: _Count
    data: str


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """A chunk as a client sends it."""

    id: int
    data: bytes


LONG_BODY = 64 * 1024
"""Bytes of JSON that are decoded within a third of a millisecond."""

_TOO_MUCH = f"Too much JSON beside `data` (limit {MAX_REST} bytes)."

_REPLACEMENT = "\ufffd".encode()
_CUT_ADVICE = (
    "If the chunk splits a character, use another chunk_size, or send the image whole "
    "with PUT /image/<sha256>."
)

_UTF_8 = frozenset({"", "utf-8", "utf8", "us-ascii", "ascii"})
_OTHER_CHARSET = (
    "Images are UTF-8 here: send the file with POST / to have it converted from its "
    "charset."
)

_decode_registration = msgspec.json.Decoder(_Registration).decode
_decode_about = msgspec.json.Decoder(_About).decode
_decode_chunk = msgspec.json.Decoder(_Chunk).decode


@cached_by_fields
def require_json(request: Request) -> bool:
    """
    Refuse a request whose Content-Type is not JSON (RFC 9110, section 8.3).

    Return whether it has a Content-Digest, against which its body is to be verified.

    So a missing type is refused, and the types that pages of any site may send without
    a preflight (Fetch, section 2.2.2), which do not include JSON.

    Errors: `NotJSONError`, `EncodedBodyError`.
    """
    content_type = request.getHeader(b"content-type")
    if content_type != b"application/json" and not _is_json(content_type or b""):
        raise NotJSONError
    _require_bare(request)
    return request.getHeader(b"content-digest") is not None


def charset_in(content_type: bytes) -> str:
    """Return the charset in a Content-Type, empty if it has none."""
    found = _find_charset(content_type)
    return "" if found is None else found[1].decode("latin-1").lower()


def require_upload(request: Request) -> None:
    """
    Refuse a request whose body cannot be a file, or a form with one.

    Any Content-Type is accepted but `multipart/*` that is no form, and charsets that
    are unknown.

    Errors: `MalformedRequestError`, `MultipartBodyError`, `UnsupportedCharsetError`,
    `EncodedBodyError`.
    """
    _require_whole(request)
    content_type = request.getHeader(b"content-type") or b""
    if is_multipart(content_type):
        if not is_form(content_type):
            raise MultipartBodyError
    else:
        require_charset(charset_in(content_type) or AUTO)
    _require_bare(request)


@cached_by_fields
def require_image(request: Request) -> None:
    """
    Refuse a request whose body cannot be an image.

    Any Content-Type but `multipart/*` and another charset is accepted, as many clients
    set one by default; the body is verified by its hash and as UTF-8.

    Errors: `MalformedRequestError`, `MultipartBodyError`, `UnsupportedCharsetError`,
    `EncodedBodyError`.
    """
    _require_whole(request)
    content_type = request.getHeader(b"content-type") or b""
    if is_multipart(content_type):
        raise MultipartBodyError
    if charset_in(content_type) not in _UTF_8:
        raise UnsupportedCharsetError(_OTHER_CHARSET)
    _require_bare(request)


def _require_whole(request: Request) -> None:
    if request.getHeader(b"content-range") is not None:
        # RFC 9110, section 14.5: the body would be a part of the image.
        message = "Content-Range is not supported: send the whole image."
        raise MalformedRequestError(message)


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
    # Cheaper than a regular expression.  Whitespace between digits is skipped, but then
    # there are fewer than 64.
    try:
        is_hash = len(text) == _DIGITS and len(bytes.fromhex(text)) == _DIGITS // 2
    except ValueError:
        is_hash = False
    if not is_hash:
        detail = "Not a SHA-256 (64 hex digits)."
        raise MalformedRequestError(detail)
    return text.lower()


def parse_registration(
    body: bytes, limits: InputLimits
) -> tuple[ImageSpec, _Registration | None]:
    """
    Parse the body of a registration.

    Return what to register, and the whole of it for `new_image`, None if it brings
    nothing besides.

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
        detail = f"Too many chunks: {spec.chunks} (limit {MAX_CHUNKS})."
        raise MalformedRequestError(detail)
    if registration.brings_nothing:
        return spec, None
    return spec, registration


def new_image(
    registration: _Registration, key_hash: bytes, *, listed: bool, now: float
) -> NewImage:
    """
    Return what a registration brings.

    `key_hash` is that of the edit key, empty without one.  `listed` is the default.
    `now` is in seconds since the epoch.

    Errors: `InvalidAboutError`.
    """
    charset = registration.charset and parse_origin(registration.charset)
    about = None
    if registration.about is not None or registration.listed is not None:
        wanted = listed if registration.listed is None else registration.listed
        about = _about_of(registration.about or _About(), listed=wanted, now=now)
    return NewImage(about, key_hash, charset)


def parse_about_document(body: bytes, *, listed: bool, now: float) -> About:
    """
    Parse what is said about an image.

    `listed` is the default.  `now` is in seconds since the epoch.

    Errors: `MalformedRequestError`, `NotUTF8Error`, `InvalidAboutError`.
    """
    return _about_of(_decode(_decode_about, body), listed=listed, now=now)


def _about_of(sent: _About, *, listed: bool, now: float) -> About:
    about = About(
        title=sent.title.strip(),
        description=sent.description.replace("\r\n", "\n").strip(),
        author=sent.author.strip(),
        licence=sent.licence.strip(),
        tags=tuple(tag.strip() for tag in sent.tags),
        listed=listed if sent.listed is None else sent.listed,
        expires=parse_expires(sent.expires or "", now),
    )
    check_about(about)
    return about


def parse_chunk(body: bytes, limits: InputLimits) -> Chunk:
    """
    Parse the body of a chunk; blocks long for more than `LONG_BODY` bytes.

    Errors: `MalformedRequestError`, `NotUTF8Error`, `ChunkTooLargeError`.
    """
    chunk = _decode(_decode_chunk, body, _CUT_ADVICE)
    data = chunk.data.encode("utf-8")
    if len(data) == chunk.size <= limits.max_chunk_size:
        return Chunk(chunk.id, data)
    raise _wrong_size(chunk, data, limits)


def parse_long_chunk(body: bytes, limits: InputLimits) -> Generator[None, None, Chunk]:
    """
    Like `parse_chunk`, in steps for `asciid.runtime.offload`.

    The JSON beside `data` is limited to `MAX_REST` bytes.
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
    data = long.content
    if len(data) == chunk.size <= limits.max_chunk_size:
        return Chunk(chunk.id, data)
    raise _wrong_size(chunk, data, limits)


def _wrong_size(
    chunk: _Chunk, data: bytes, limits: InputLimits
) -> ChunkTooLargeError | MalformedRequestError:
    """Return the error in a chunk with `data` in UTF-8."""
    if len(data) > limits.max_chunk_size:
        return ChunkTooLargeError(limit=limits.max_chunk_size, actual=len(data))
    detail = f"`size` is {chunk.size}, and `data` is {len(data)} bytes of UTF-8."
    if data.startswith(_REPLACEMENT) or data.endswith(_REPLACEMENT):
        # The replacement character, made from a split character.
        detail = f"{detail} {_CUT_ADVICE}"
    return MalformedRequestError(detail)


def _decode(decode: Callable[[bytes], T], body: bytes, advice: str = "") -> T:
    try:
        if not body.isascii():
            # The decoder skips unknown members without validation.
            body.decode("utf-8")
        return decode(body)
    except UnicodeDecodeError as error:
        raise NotUTF8Error(error.start, "invalid byte", advice) from error
    except RecursionError as error:
        detail = "JSON nested too deeply."
        raise MalformedRequestError(detail) from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise _malformed(str(error), body, advice) from error


def _malformed(
    reason: str, json: bytes, advice: str, start: int = 0
) -> MalformedRequestError | NotUTF8Error:
    """Return the error in `json`, which starts at the offset `start`."""
    offset = _lone_surrogate(json)
    if offset is not None:
        return NotUTF8Error(start + offset, "lone surrogate", advice)
    return MalformedRequestError(_moved(reason, start))


def _lone_surrogate(json: bytes) -> int | None:
    """Return the offset of an escape of a lone surrogate, if any."""
    if json.count(b"\\") <= _MAX_ESCAPES:
        found = _find_lone_surrogate(json)
        return None if found is None else found.end()
    for match in islice(_find_lone_surrogates(json), _MAX_SUSPECTS):
        at = match.start()
        before = json[max(0, at - _MAX_SUSPECTS) : at]
        # After an odd number of backslashes it is text.
        if (len(before) - len(before.rstrip(b"\\"))) % 2 == 0:
            return at
    return None


def _moved(reason: str, distance: int, beyond: int = -1) -> str:
    """Add `distance` to offsets in `reason` beyond `beyond`."""

    def move(match: re.Match[str]) -> str:
        offset = int(match[1])
        return f"(byte {offset + distance * (offset > beyond)})"

    return _find_offset(move, reason)
