"""
Names of requests, for whoever follows one through several logs.

One comes from the client, in X-Request-Id or in traceparent (W3C Trace Context,
section 3.2), or is made here.
"""

from __future__ import annotations

import re
from itertools import count
from secrets import token_hex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["given_id", "request_id", "unique_ids"]

# What can be shown anywhere, and is not too long to be.
_SANE = re.compile(rb"[!-~]{1,128}")

# Version, trace-id, parent-id and flags; a later version may add to them.
_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)
_FIRST_VERSION = b"00-"


def unique_ids() -> Iterator[bytes]:
    """Return names that no other process gives."""
    pattern = f"{token_hex(8)}-%x".encode("ascii")
    return map(pattern.__mod__, count(1))


def given_id(name: bytes | None, traceparent: bytes | None) -> bytes | None:
    """
    Return what a client calls its request, ``None`` where that is of no use.

    :param name: the value of X-Request-Id; up to 128 visible characters of ASCII
        are taken.
    :param traceparent: where the first is of no use, its trace-id is taken.
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
    """Return the name of a request as text, ``-`` on a stack that gives none."""
    name = getattr(request, "id", None)
    return name.decode("ascii") if isinstance(name, bytes) else "-"
