"""Ranges of bytes: the Range field and multipart bodies (RFC 9110, section 14)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "MAX_RANGES",
    "Part",
    "closing",
    "content_range",
    "multipart",
    "parse_ranges",
]

MAX_RANGES = 16
"""Maximum ranges in one response."""

# More ranges than are sent, since they may overlap; numbers that int() accepts.
_MAX_MEMBERS = 64
_MAX_FIELD = 4_000

_find_spec = re.compile(rb"([0-9]+)-([0-9]*)|-([0-9]+)").fullmatch


@frozen
class Part:
    """The bytes ``[start, end)`` of an image, and the header sent before them."""

    start: int
    end: int
    lead: bytes = b""


def parse_ranges(field: bytes, size: int) -> list[tuple[int, int]] | None:
    """
    Parse a Range field for an image of `size` bytes.

    Return disjoint, non-adjacent ``(start, end)`` pairs in the requested order; an
    empty list if none is satisfiable (416); None to ignore the field, which has another
    unit, is malformed, or has more than 64 different ranges, or more than `MAX_RANGES`
    after joining overlapping and adjacent ones (RFC 9110, section 14.2).
    """
    unit, _, specs = field.partition(b"=")
    if unit.strip().lower() != b"bytes" or len(field) > _MAX_FIELD:
        return None
    asked: list[tuple[int, int]] = []
    members = dict.fromkeys(map(bytes.strip, specs.split(b",")))
    members.pop(b"", None)
    if not 0 < len(members) <= _MAX_MEMBERS:
        return None
    for member in members:
        spec = _find_spec(member)
        if spec is None:
            return None
        first, last, suffix = spec.groups()
        if suffix is not None:
            start, end = max(size - int(suffix), 0), size
            if not size and int(suffix):
                # Satisfiable by the RFC, but no Content-Range can express it.
                return None
        else:
            start, stop = int(first), int(last) + 1 if last else size
            if last and stop <= start:
                return None
            end = min(stop, size)
        if start < end:
            asked.append((start, end))
    joined = _join(asked)
    return None if len(joined) > MAX_RANGES else joined


def _join(asked: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in sorted(asked):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    if len(joined) > MAX_RANGES:
        return joined
    in_order = (
        next(whole for whole in joined if whole[0] <= start < whole[1])
        for start, _ in asked
    )
    return list(dict.fromkeys(in_order))


def content_range(start: int, end: int, size: int) -> bytes:
    """Return the Content-Range of the bytes ``[start, end)``."""
    return b"bytes %d-%d/%d" % (start, end - 1, size)


def multipart(
    ranges: Iterable[tuple[int, int]], size: int, boundary: bytes, media_type: bytes
) -> list[Part]:
    """
    Return the parts of a ``multipart/byteranges`` body (section 14.6).

    `closing` follows the last of them.
    """
    template = b"\r\n--%b\r\nContent-Type: %b\r\nContent-Range: %b\r\n\r\n"
    parts = [
        Part(
            start,
            end,
            template % (boundary, media_type, content_range(start, end, size)),
        )
        for start, end in ranges
    ]
    # The first delimiter has no line break before it.
    first = parts[0]
    return [Part(first.start, first.end, first.lead[2:]), *parts[1:]]


def closing(boundary: bytes) -> bytes:
    """Return the end of a ``multipart/byteranges`` body."""
    return b"\r\n--%b--\r\n" % boundary
