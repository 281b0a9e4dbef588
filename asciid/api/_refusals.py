"""Requests that are refused before the store is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.errors import AsciidError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AuthorizationMalformedError",
    "ChunkTooLargeError",
    "DigestMismatchError",
    "EncodedBodyError",
    "ImageTooLargeError",
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
]


class MalformedRequestError(AsciidError):
    """The request does not have the form that was asked for."""


class NotJSONError(AsciidError):
    """The body is not said to be JSON in UTF-8 (RFC 8259, section 8.1)."""

    def __init__(self) -> None:
        super().__init__(
            "The body must be JSON in UTF-8, with Content-Type: application/json."
        )


class EncodedBodyError(AsciidError):
    """The body has a content coding (RFC 9110, section 15.5.16)."""

    def __init__(self) -> None:
        super().__init__("Content-Encoding is not supported: send the body as it is.")


class MultipartBodyError(AsciidError):
    """The body is a form, or has several parts for another reason."""

    def __init__(self) -> None:
        super().__init__(
            "The body must be the image itself, not multipart: send the file with "
            "curl -T, or --data-binary and -X PUT, in place of -F."
        )


class NotUTF8Error(AsciidError):
    """
    The body is not UTF-8.

    `offset` counts the bytes of the body before the first that is wrong; `reason`
    says what is wrong there, `advice` what to do.
    """

    def __init__(self, offset: int, reason: str, advice: str = "") -> None:
        super().__init__(
            f"The body is not UTF-8: {reason} at offset {offset}. {advice}".rstrip()
        )
        self.offset = offset


class PreconditionFailedError(AsciidError):
    """A condition of the request does not hold (RFC 9110, section 13.2)."""

    def __init__(self, field: bytes) -> None:
        super().__init__(f"The condition {field.decode('ascii')} does not hold.")


class ImageTooLargeError(AsciidError):
    """The image has more bytes than the service takes."""

    def __init__(self, *, limit: int, actual: int) -> None:
        super().__init__(f"An image may have {limit} bytes, not {actual} or more.")


class ChunkTooLargeError(AsciidError):
    """The chunk has more bytes than the service takes."""

    def __init__(self, *, limit: int, actual: int) -> None:
        super().__init__(f"A chunk may have {limit} bytes, not {actual}.")


class DigestMismatchError(AsciidError):
    """The body is not the one that Content-Digest describes (RFC 9530)."""

    def __init__(self, algorithm: bytes) -> None:
        name = algorithm.decode("ascii")
        super().__init__(f"The body has another {name} than Content-Digest says.")


class NotAcceptableError(AsciidError):
    """The client takes no form of the image (RFC 9110, section 15.5.7)."""

    def __init__(self) -> None:
        super().__init__(
            "Accept or Accept-Encoding leaves no form of this image to send: it is "
            "text/plain; charset=utf-8."
        )


class NotReadyError(AsciidError):
    """The service cannot do its work now; `checks` says why."""

    def __init__(self, checks: Mapping[str, Mapping[str, object]]) -> None:
        reasons = [check["reason"] for check in checks.values() if "reason" in check]
        super().__init__(" ".join(map(str, reasons)))
        self.checks = checks


class RangeNotSatisfiableError(AsciidError):
    """No range asked for is within the image (RFC 9110, section 15.5.17)."""

    def __init__(self, size: int) -> None:
        super().__init__(f"The image has {size} bytes, and none of those asked for.")
        self.size = size


class TokenMissingError(AsciidError):
    """The request bears no token (RFC 9110, section 15.5.2)."""

    def __init__(self) -> None:
        super().__init__("This needs a token, in the field Authorization: Bearer.")


class TokenInvalidError(AsciidError):
    """The request bears a token that is none of ours (RFC 6750, section 3.1)."""

    def __init__(self) -> None:
        super().__init__("The token in Authorization is not one that may write.")


class AuthorizationMalformedError(AsciidError):
    """Authorization is there twice, or holds no token (RFC 6750, section 2.1)."""

    def __init__(self) -> None:
        super().__init__(
            "Authorization must be there once, as Bearer, a space and the token."
        )
