"""Reads header fields of requests, on this HTTP server and on stock ``twisted.web``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asciid.http._field_block import FieldBlock

__all__ = ["names_of", "values_of"]

# Klein's handlers get a request of either stack; they have no common type.
AnyRequest = Any


def names_of(request: AnyRequest) -> frozenset[bytes]:
    """Return the names of all fields, in lower case."""
    block: FieldBlock | None = getattr(request, "_block", None)
    if block is not None:
        return block.names()
    headers = request.requestHeaders.getAllRawHeaders()
    return frozenset(name.lower() for name, _ in headers)


def values_of(request: AnyRequest, name: bytes) -> list[bytes]:
    """
    Return the values of all lines of a field, in order.

    :param name: in lower case.
    """
    block: FieldBlock | None = getattr(request, "_block", None)
    if block is not None:
        return block.all(name)
    values: list[bytes] = request.requestHeaders.getRawHeaders(name, [])
    return values
