"""Remembers what handlers find in header fields, which clients repeat."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.http._field_block import FieldBlock

__all__ = ["cached_by_fields"]

# Klein's handlers get a request of either stack; they have no common type.
AnyRequest = Any

ResultT = TypeVar("ResultT")


def cached_by_fields(
    function: Callable[[AnyRequest], ResultT],
) -> Callable[[AnyRequest], ResultT]:
    """
    Call a function once for all requests that have the same header fields.

    It must depend on nothing else than what ``getHeader`` and ``requestHeaders``
    return, and not on the values of Content-Length, If-None-Match, X-Request-Id and
    traceparent; its result must not be changed.  What it raises is not cached; on stock
    twisted.web nothing is.
    """

    @wraps(function)
    def cached(request: AnyRequest) -> ResultT:
        block: FieldBlock | None = getattr(request, "_block", None)
        if block is None:
            return function(request)
        findings: dict[object, ResultT] = block.findings
        if function in findings:
            return findings[function]
        result = findings[function] = function(request)
        return result

    return cached
