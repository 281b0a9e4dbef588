"""Requests that are refused before the store is asked."""

from __future__ import annotations

from asciid.errors import AsciidError

__all__ = [
    "ChunkTooLargeError",
    "ImageTooLargeError",
    "MalformedRequestError",
    "NotJSONError",
    "NotTextError",
    "PreconditionFailedError",
]


class MalformedRequestError(AsciidError):
    """The request does not have the form that was asked for."""


class NotJSONError(AsciidError):
    """The body is not said to be JSON in UTF-8 (RFC 8259, section 8.1)."""

    def __init__(self) -> None:
        super().__init__(
            "The body must be JSON in UTF-8, with Content-Type: application/json."
        )


class NotTextError(AsciidError):
    """The body is not said to be plain text in UTF-8, as it is."""

    def __init__(self) -> None:
        super().__init__(
            "The body must be text in UTF-8, with Content-Type: text/plain or none, "
            "and without Content-Encoding."
        )


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
