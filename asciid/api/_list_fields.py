"""Parses header fields that are lists (RFC 9110, section 5.6.1)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from asciid.http import values_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asciid.api._request_interface import Request

__all__ = ["all_lines", "weighted_members"]

# An unterminated string ends with the field, so that one pass is enough.
_quoted = re.compile(rb'"((?:[^"\\]|\\.?)*)"?').sub
_is_token = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_MAX_DELIMITERS = 100
"""Maximum delimiters in a field; clients send up to 30."""

_find_weight = re.compile(rb"[01]?(?:\.[0-9]*)?").fullmatch


def all_lines(request: Request, name: bytes) -> bytes:
    """
    Return the value of a list field, its lines joined (RFC 9110, section 5.3).

    Empty without such a field.
    """
    return b", ".join(values_of(request, name))


def weighted_members(value: bytes) -> Iterator[tuple[bytes, tuple[bytes, ...], float]]:
    """
    Yield name, parameters and weight of each member, in lower case.

    For Accept and Accept-Encoding (RFC 9110, section 12.4.2).  A weight is from 0 to 1,
    by default and if malformed 1.  The parameters end at the weight.  A field with more
    than 100 delimiters is ignored, as section 12.1 permits: it has no members.
    """
    if sum(map(value.count, (b",", b";", b'"'))) > _MAX_DELIMITERS:
        return
    if b'"' in value:
        value = _quoted(_unquoted, value)
    for member in value.lower().split(b","):
        name, *rest = (part.strip() for part in member.split(b";"))
        if not name:
            continue
        parameters = []
        weight = 1.0
        for parameter in filter(None, rest):
            if parameter.startswith(b"q="):
                weight = _weight(parameter[2:])
                break
            parameters.append(parameter)
        yield name, tuple(parameters), weight


def _unquoted(match: re.Match[bytes]) -> bytes:
    # A string that is not a token is unknown, and must not be split at commas.
    return match[1] if _is_token(match[1]) else b"?"


def _weight(text: bytes) -> float:
    # Some clients send ".2", which RFC 9110 does not allow.
    if not text or text == b"." or _find_weight(text) is None:
        return 1.0
    return min(float(text), 1.0)
