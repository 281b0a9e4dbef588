"""Request lines, which clients repeat: what each says, and what serves it."""

from __future__ import annotations

from msgspec import Struct

from asciid.http._route import Found

__all__ = ["RequestLine"]


class RequestLine(Struct, eq=False):
    """
    A valid request line.

    :ivar method: such as ``b"GET"``.
    :ivar target: in origin-form, with the query, or ``b"*"``.
    :ivar path: the target without the query, still percent-encoded.
    :ivar found: what serves it, once that is known, if it depends on nothing else.
    """

    method: bytes
    target: bytes
    path: bytes
    found: Found | None = None
