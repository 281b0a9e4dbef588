"""Reading header fields that are lists (RFC 9110, section 5.6.1)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asciid.api._request_interface import Request

__all__ = ["all_lines", "weighted_members"]

# An unclosed string ends with the field, so that one pass is enough.
_quoted = re.compile(rb'"((?:[^"\\]|\\.?)*)"?').sub
_is_token = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_MAX_DELIMITERS = 100
"""Commas, semicolons and quotes in a field that is read; clients send up to 30."""

_find_weight = re.compile(rb"[01]?(?:\.[0-9]*)?").fullmatch


def all_lines(request: Request, name: bytes) -> bytes:
    """
    Return the value of a list field, its lines joined (RFC 9110, section 5.3).

    It is empty if there is no such field.
    """
    return b", ".join(request.requestHeaders.getRawHeaders(name, ()))


def weighted_members(value: bytes) -> Iterator[tuple[bytes, tuple[bytes, ...], float]]:
    """
    Yield name, parameters and weight of each member, all in lower case.

    That is the form of Accept and Accept-Encoding (RFC 9110, section 12.4.2).
    A weight is from 0 to 1; where it is missing or unreadable it is 1.  What
    follows the weight is no part of the parameters.  A field that has more than 100
    delimiters is ignored, as a server may (section 12.1): it has no members.
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
    # A string that could not be written as a token is nothing that is known
    # here, and must not be taken apart at its commas.
    return match[1] if _is_token(match[1]) else b"?"


def _weight(text: bytes) -> float:
    # Some clients write ".2", which RFC 9110 does not allow, and mean it.
    if not text or text == b"." or _find_weight(text) is None:
        return 1.0
    return min(float(text), 1.0)
