"""
Problem documents (RFC 9457), and the one table from errors to responses.

Every error body has the members ``type``, ``title``, ``status`` and ``detail`` of RFC
9457, and ``code`` (such as ``"409 Conflict"``) and ``message`` (equal to ``detail``).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from twisted.logger import Logger
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
    RequestTimeout,
    ServiceUnavailable,
)

from asciid import errors
from asciid.api._cors import READ_FIELDS
from asciid.api._refusals import (
    AuthorizationMalformedError,
    ChunkTooLargeError,
    CrossSiteError,
    DigestMismatchError,
    EditKeyMissingError,
    EncodedBodyError,
    ImageTooLargeError,
    MalformedFormError,
    MalformedRequestError,
    MultipartBodyError,
    NotAcceptableError,
    NotJSONError,
    NotReadyError,
    NotUTF8Error,
    PreconditionFailedError,
    RangeNotSatisfiableError,
    TokenInvalidError,
    TokenMissingError,
    UndecodableTextError,
    UnsupportedCharsetError,
    UploadRateError,
)
from asciid.api._status_document import status_link
from asciid.http import (
    PreparedHead,
    TooManyConnections,
    encode_fields,
    request_id,
)
from asciid.runtime.frames import forget_tracebacks
from asciid.web.renderer import (
    NotRenderableError,
    RendererBusyError,
    RenderingFailedError,
)

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from asciid.api._request_interface import Request

__all__ = [
    "PROBLEM_JSON",
    "PROBLEM_TYPES",
    "Problem",
    "answer_problem",
    "problem_for",
    "problem_for_status",
    "status_text",
]

_log = Logger()

PROBLEM_JSON = b"application/problem+json"
"""The media type of a problem document (RFC 9457, section 3)."""

RETRY_AFTER = 1
"""The Retry-After in seconds for a full queue."""


class Problem(msgspec.Struct, frozen=True):
    """An error response: status, header fields and the problem's members."""

    name: str
    status: int
    title: str
    detail: str
    headers: Mapping[bytes, bytes] = {}
    members: Mapping[str, Any] = {}

    @property
    def body(self) -> bytes:
        """The problem document, as UTF-8 JSON."""
        detail = msgspec.json.encode(self.detail)
        members = b"}"
        if self.members:
            members = b"," + msgspec.json.encode(self.members)[1:]
        template = _template(f"/problems/{self.name}", self.title, self.status)
        return template % (detail, detail, members)


@lru_cache(maxsize=128)
def _template(type_: str, title: str, status: int) -> bytes:
    """Return the format of a document: of its detail, twice, and of its rest."""
    members = {"type": type_, "title": title, "status": status}
    start = msgspec.json.encode(members)[:-1].replace(b"%", b"%%")
    code = msgspec.json.encode(status_text(status)).replace(b"%", b"%%")
    return b'%b,"detail":%%b,"code":%b,"message":%%b%%b' % (start, code)


_TABLE: dict[type[BaseException | None], tuple[int, str, str]] = {
    BadRequest: (400, "malformed-body", "Malformed body"),
    MalformedRequestError: (400, "malformed-request", "Malformed request"),
    MalformedFormError: (400, "malformed-form", "Malformed form"),
    NotUTF8Error: (400, "not-utf-8", "Not UTF-8"),
    DigestMismatchError: (400, "digest-mismatch", "Digest mismatch"),
    errors.ChunkOutOfRangeError: (400, "chunk-out-of-range", "Chunk out of range"),
    errors.ChunkSizeError: (400, "chunk-size-mismatch", "Chunk size mismatch"),
    AuthorizationMalformedError: (
        400,
        "authorization-malformed",
        "Malformed Authorization",
    ),
    TokenMissingError: (401, "token-missing", "Token missing"),
    TokenInvalidError: (401, "token-invalid", "Token invalid"),
    errors.InvalidAboutError: (400, "invalid-about", "Invalid about field"),
    CrossSiteError: (403, "cross-site", "Page of another site"),
    EditKeyMissingError: (403, "edit-key-missing", "Edit key missing"),
    errors.EditKeyError: (403, "wrong-edit-key", "Wrong edit key"),
    NotFound: (404, "not-found", "Not found"),
    errors.ImageNotFoundError: (404, "image-not-found", "Image not found"),
    errors.ImageIncompleteError: (404, "image-incomplete", "Image incomplete"),
    NotRenderableError: (404, "not-renderable", "Not renderable"),
    NotAcceptableError: (406, "not-acceptable", "Not acceptable"),
    RequestTimeout: (408, "body-too-slow", "Body too slow"),
    errors.ImageExistsError: (409, "image-exists", "Image exists"),
    errors.ChunkExistsError: (409, "chunk-exists", "Chunk exists"),
    errors.ImageGoneError: (410, "image-gone", "Image gone"),
    errors.AboutChangedError: (412, "about-changed", "About changed"),
    PreconditionFailedError: (412, "precondition-failed", "Precondition failed"),
    RequestEntityTooLarge: (413, "body-too-large", "Body too large"),
    ImageTooLargeError: (413, "image-too-large", "Image too large"),
    ChunkTooLargeError: (413, "chunk-too-large", "Chunk too large"),
    NotJSONError: (415, "not-json", "Not JSON"),
    EncodedBodyError: (415, "encoded-body", "Content-Encoding not supported"),
    MultipartBodyError: (415, "multipart-body", "Multipart body"),
    UnsupportedCharsetError: (415, "unsupported-charset", "Charset not supported"),
    RangeNotSatisfiableError: (416, "range-not-satisfiable", "Range not satisfiable"),
    errors.HashMismatchError: (422, "hash-mismatch", "Hash mismatch"),
    UndecodableTextError: (422, "undecodable-text", "Undecodable text"),
    errors.ClientUploadsError: (
        429,
        "client-uploads",
        "Too many client uploads",
    ),
    UploadRateError: (429, "upload-rate", "Upload rate too high"),
    errors.ImageBlockedError: (451, "image-blocked", "Image blocked"),
    ServiceUnavailable: (503, "too-many-bodies", "Too many request bodies"),
    TooManyConnections: (503, "too-many-connections", "Too many connections"),
    NotReadyError: (503, "not-ready", "Not ready"),
    errors.TooManyUploadsError: (503, "too-many-uploads", "Too many uploads"),
    errors.StoreBusyError: (503, "store-busy", "Store busy"),
    errors.StoreClosedError: (503, "stopping", "Service stopping"),
    RendererBusyError: (503, "renderer-busy", "Renderer busy"),
    RenderingFailedError: (503, "rendering-failed", "Rendering failed"),
    errors.WriterGoneError: (503, "writer-gone", "Writer gone"),
    errors.WriterUnavailableError: (503, "writer-unavailable", "No writer"),
    errors.DatabaseUnavailableError: (
        503,
        "database-unavailable",
        "Database unavailable",
    ),
    errors.StorageFailedError: (503, "storage-failed", "Storage failed"),
    errors.CommitFailedError: (503, "commit-failed", "Commit failed"),
    errors.StorageUnreadableError: (503, "storage-failed", "Storage failed"),
    errors.StorageFullError: (507, "storage-full", "Storage full"),
}
"""Error -> status, name of the problem type, title."""

_CHALLENGE = b"WWW-Authenticate"
_HEADERS: dict[type[BaseException | None], dict[bytes, bytes]] = {
    # RFC 9110, section 12.5.3
    EncodedBodyError: {b"Accept-Encoding": b"identity"},
    # RFC 6750, section 3
    TokenMissingError: {_CHALLENGE: b'Bearer realm="asciid"'},
    TokenInvalidError: {_CHALLENGE: b'Bearer realm="asciid", error="invalid_token"'},
    AuthorizationMalformedError: {
        _CHALLENGE: b'Bearer realm="asciid", error="invalid_request"'
    },
}
"""Error -> constant header fields."""

_RETRIED = frozenset({429, 503})
"""Statuses that have Retry-After."""
_UNEXPECTED = 500

_MEMBERS: dict[type[BaseException | None], Mapping[str, str]] = {
    NotReadyError: {"checks": "checks"},
    errors.ChunkExistsError: {"identical": "identical"},
    NotUTF8Error: {"offset": "offset"},
    UndecodableTextError: {"offset": "offset", "charsets": "charsets"},
    errors.InvalidAboutError: {"field": "name"},
}
"""Error -> additional members of its problem document, and attributes of the error."""

_INTERNAL_ERROR = (_UNEXPECTED, "internal-error", "Internal error")
_METHOD_NOT_ALLOWED = (405, "method-not-allowed", "Method not allowed")

PROBLEM_TYPES: Mapping[str, tuple[int, str]] = {
    name: (status, title)
    for status, name, title in (
        *_TABLE.values(),
        _METHOD_NOT_ALLOWED,
        _INTERNAL_ERROR,
    )
}
"""Name of each problem type -> its status and title."""


def status_text(status: int) -> str:
    """Return a status with its phrase, such as ``"409 Conflict"``."""
    return f"{status} {HTTPStatus(status).phrase}"


def problem_for(error: BaseException | None) -> Problem:
    """Return the problem for `error`."""
    if isinstance(error, HTTPException):
        return _problem_for_http(error)
    kind = type(error)
    status, name, title = _TABLE.get(kind, _INTERNAL_ERROR)
    headers = dict(_HEADERS.get(kind, ()))
    detail = str(error)
    if isinstance(error, errors.ImageExistsError):
        headers[b"Link"] = status_link(error.sha256)
    elif isinstance(error, RangeNotSatisfiableError):
        headers[b"Content-Range"] = b"bytes */%d" % error.size
    if isinstance(error, UploadRateError):
        headers[b"Retry-After"] = b"%d" % error.retry_after
    elif status in _RETRIED:
        headers[b"Retry-After"] = b"%d" % RETRY_AFTER
    elif status == _UNEXPECTED:
        # The error is logged, not shown to the client.
        detail = "Internal error; it was logged."
    members = {
        member: getattr(error, attribute)
        for member, attribute in _MEMBERS.get(kind, {}).items()
    }
    return Problem(name, status, title, detail, headers, members)


def _problem_for_http(error: HTTPException) -> Problem:
    """Return the problem for an error of HTTP itself."""
    headers = {}
    status, name, title = _TABLE.get(type(error), _INTERNAL_ERROR)
    detail = error.description or title
    if isinstance(error, MethodNotAllowed):
        status, name, title = _METHOD_NOT_ALLOWED
        allowed = ", ".join(sorted({*(error.valid_methods or ()), "OPTIONS"}))
        detail = f"Method not allowed; allowed: {allowed}."
        headers[b"Allow"] = allowed.encode("ascii")
    elif isinstance(error, NotFound):
        detail = "No resource exists at this path."
    elif status in _RETRIED:
        headers[b"Retry-After"] = b"%d" % RETRY_AFTER
    elif status == _UNEXPECTED:
        detail = "Internal error; it was logged."
    return Problem(name, status, title, detail, headers)


@cache
def _head(status: int, shared: bool) -> PreparedHead:  # noqa: FBT001 - cached
    return PreparedHead(
        status,
        [
            (b"X-Content-Type-Options", b"nosniff"),
            (b"Content-Type", PROBLEM_JSON),
            # A missing image may be uploaded at any moment.
            (b"Cache-Control", b"no-store"),
            *(READ_FIELDS if shared else ()),
        ],
    )


def answer_problem(
    request: Request, problem: Problem, failure: Failure, *, shared: bool = False
) -> bytes:
    """
    Set the status and the header fields of a problem; return the body.

    `failure` is its cause, logged if unexpected.  With `shared`, pages of any site may
    read the response.
    """
    if problem.status == _UNEXPECTED:
        _log.failure(
            "request {request_id} failed unexpectedly",
            failure,
            request_id=request_id(request),
        )
    body = problem.body
    own = encode_fields(problem.headers.items()) if problem.headers else b""
    head = _head(problem.status, shared)
    head.apply(request, own, len(body), replaces=True)
    # Its frames refer to the failure: breaks the reference cycle.
    if failure.value is not None:
        forget_tracebacks(failure.value)
    return body


def problem_for_status(status: int, detail: str, name: str | None = None) -> bytes:
    """
    Return the body for an error in HTTP itself, below the routes.

    Without the `name` of a problem type its type is ``about:blank`` (RFC 9457, section
    4.2.1).
    """
    if name is not None:
        _, title = PROBLEM_TYPES[name]
        return Problem(name, status, title, detail).body
    phrase = HTTPStatus(status).phrase
    encoded = msgspec.json.encode(detail)
    return _template("about:blank", phrase, status) % (encoded, encoded, b"}")
