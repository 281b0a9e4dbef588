"""Errors of requests that are refused before they reach the store."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from asciid.errors import AsciidError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AuthorizationMalformedError",
    "ChunkTooLargeError",
    "CrossSiteError",
    "DigestMismatchError",
    "EditKeyMissingError",
    "EncodedBodyError",
    "ImageTooLargeError",
    "MalformedFormError",
    "MalformedRequestError",
    "MultipartBodyError",
    "NotAcceptableError",
    "NotJSONError",
    "NotReadyError",
    "NotUTF8Error",
    "PreconditionFailedError",
    "RangeNotSatisfiableError",
    "TokenInvalidError",
    "TokenMissingError",
    "UndecodableTextError",
    "UnsupportedCharsetError",
    "UploadRateError",
]


class MalformedRequestError(AsciidError):
    """The request is malformed."""


class NotJSONError(AsciidError):
    """The Content-Type is not JSON in UTF-8 (RFC 8259, section 8.1)."""

    def __init__(self) -> None:
        super().__init__(
            "Unsupported Content-Type: send JSON in UTF-8 as application/json."
        )


class EncodedBodyError(AsciidError):
    """The body has a content coding (RFC 9110, section 15.5.16)."""

    def __init__(self) -> None:
        super().__init__("Content-Encoding is not supported: send the body without it.")


class MultipartBodyError(AsciidError):
    """The body is multipart, such as a form."""

    def __init__(self) -> None:
        super().__init__(
            "multipart bodies are not supported: send the file itself, with curl -T, "
            "or --data-binary and -X PUT, instead of -F."
        )


class MalformedFormError(AsciidError):
    """The body is not a form with one file (RFC 7578)."""

    def __init__(self, fault: str) -> None:
        super().__init__(f"Malformed form: {fault}.")


class UnsupportedCharsetError(AsciidError):
    """The charset of the body is unknown, or not supported by this request."""


class UndecodableTextError(AsciidError):
    """
    The file cannot be converted to UTF-8.

    `offset` is that of the first invalid byte, or None; `charsets` are those that the
    file may have, the likelier first.
    """

    def __init__(
        self, detail: str, *, offset: int | None, charsets: tuple[str, ...]
    ) -> None:
        super().__init__(detail)
        self.offset = offset
        self.charsets = charsets


class NotUTF8Error(AsciidError):
    """
    The body is not UTF-8.

    `offset` is that of the first invalid byte; `reason` is the error, `advice` what to
    do.
    """

    def __init__(self, offset: int, reason: str, advice: str = "") -> None:
        super().__init__(
            f"The body is not UTF-8: {reason} at offset {offset}. {advice}".rstrip()
        )
        self.offset = offset


class PreconditionFailedError(AsciidError):
    """A condition of the request does not hold (RFC 9110, section 13.2)."""

    def __init__(self, field: bytes) -> None:
        super().__init__(f"Precondition {field.decode('ascii')} failed.")


class ImageTooLargeError(AsciidError):
    """The image exceeds the limit."""

    def __init__(self, *, limit: int, actual: int) -> None:
        super().__init__(f"Image too large: at least {actual} bytes (limit {limit}).")


class ChunkTooLargeError(AsciidError):
    """The chunk exceeds the limit."""

    def __init__(self, *, limit: int, actual: int) -> None:
        super().__init__(f"Chunk too large: {actual} bytes (limit {limit}).")


class DigestMismatchError(AsciidError):
    """The body does not match Content-Digest (RFC 9530)."""

    def __init__(self, algorithm: bytes) -> None:
        name = algorithm.decode("ascii")
        super().__init__(f"The {name} of the body does not match Content-Digest.")


class NotAcceptableError(AsciidError):
    """No representation is acceptable (RFC 9110, section 15.5.7)."""

    def __init__(self) -> None:
        super().__init__(
            "No acceptable representation: images are text/plain; charset=utf-8."
        )


class NotReadyError(AsciidError):
    """The service is not ready; `checks` has the reasons."""

    def __init__(self, checks: Mapping[str, Mapping[str, object]]) -> None:
        reasons = [check["reason"] for check in checks.values() if "reason" in check]
        super().__init__(" ".join(map(str, reasons)))
        self.checks = checks


class RangeNotSatisfiableError(AsciidError):
    """No requested range is within the image (RFC 9110, section 15.5.17)."""

    def __init__(self, size: int) -> None:
        super().__init__(
            f"Requested range is not satisfiable: the image has {size} bytes."
        )
        self.size = size


class TokenMissingError(AsciidError):
    """The token is missing (RFC 9110, section 15.5.2)."""

    def __init__(self) -> None:
        super().__init__("Token missing: send Authorization: Bearer <token>.")


class CrossSiteError(AsciidError):
    """A page of another site sent the request, which its browser did not announce."""

    def __init__(self) -> None:
        super().__init__(
            "Pages of other sites may not upload: the origin is not in the setting "
            "write-origins."
        )


class EditKeyMissingError(AsciidError):
    """The request requires an edit key."""

    def __init__(self) -> None:
        super().__init__("Edit key missing: send Asciid-Edit-Key: <key>.")


class TokenInvalidError(AsciidError):
    """The token is invalid (RFC 6750, section 3.1)."""

    def __init__(self) -> None:
        super().__init__("Token invalid.")


class AuthorizationMalformedError(AsciidError):
    """Authorization is repeated or has no token (RFC 6750, section 2.1)."""

    def __init__(self) -> None:
        super().__init__("Malformed Authorization: send it once, as Bearer <token>.")


class UploadRateError(AsciidError):
    """
    The client has used up its uploads for now (RFC 6585, section 4).

    `wait` is in seconds; `retry_after` is the next whole number.
    """

    def __init__(self, wait: float) -> None:
        self.retry_after = ceil(wait)
        super().__init__(
            f"Upload rate limit per client reached; retry in {self.retry_after} s."
        )
