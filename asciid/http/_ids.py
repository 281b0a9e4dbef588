"""
Ids of requests, by which one is found in several logs.

A client sends one in X-Request-Id or in traceparent (W3C Trace Context, section 3.2);
otherwise it is generated.
"""

from __future__ import annotations

import re
from itertools import chain, count
from secrets import token_hex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["given_id", "request_id", "unique_ids"]

# Printable everywhere, and not too long.
_SANE = re.compile(rb"[!-~]{1,128}")

# Version, trace-id, parent-id and flags; a later version may add to them.
_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)
_TWO_DIGITS = [b"%02x" % number for number in range(256)]

_FIRST_VERSION = b"00-"


def unique_ids() -> Iterator[bytes]:
    """Return ids that no other process generates."""
    token = token_hex(8).encode("ascii")
    # Many at a time: to resume a generator for each would cost more than the id.
    return chain.from_iterable(_ids_from(b"%b-%x" % (token, n)) for n in count())


def _ids_from(start: bytes) -> list[bytes]:
    return [start + digits for digits in _TWO_DIGITS]


def given_id(name: bytes | None, traceparent: bytes | None) -> bytes | None:
    """
    Return the id that a client gives its request, ``None`` without a valid one.

    :param name: the value of X-Request-Id; valid are up to 128 visible ASCII
        characters.
    :param traceparent: its trace-id is used if `name` is not valid.
    """
    if name is not None and _SANE.fullmatch(name):
        return name
    if traceparent is None:
        return None
    trace = _TRACEPARENT.fullmatch(traceparent)
    if trace is None or (trace[2] and traceparent.startswith(_FIRST_VERSION)):
        return None
    return trace[1]


def request_id(request: object) -> str:
    """Return the id of a request as text, ``-`` on a stack that gives none."""
    name = getattr(request, "id", None)
    return name.decode("ascii") if isinstance(name, bytes) else "-"
