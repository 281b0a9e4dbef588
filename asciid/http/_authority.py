"""The grammar of Host and of a target's authority (RFC 9110 7.2, RFC 3986 3.2)."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

__all__ = ["host_name", "is_valid_authority"]

# A comma is legal in a registered name, but is what a proxy makes of two Host
# lines: so it is excluded.
_AUTHORITY = re.compile(
    rb"(?:\[(?P<literal>[^\]]*)\]"
    rb"|(?:[a-z0-9\-._~!$&'()*+;=]++|%[0-9a-f]{2})++)"
    rb"(?::(?P<port>[0-9]{0,5}))?"
)
_FUTURE = re.compile(rb"v[0-9a-f]+\.[a-z0-9\-._~!$&'()*+,;=:]+")
_MAX_PORT = 65535


@lru_cache(maxsize=256)
def is_valid_authority(value: bytes) -> bool:
    """
    Return whether the value is a host and, optionally, a port.

    User information is not allowed (RFC 9110 4.2.4), nor is an empty host.

    :param value: in lower case, without white space around it.
    """
    found = _AUTHORITY.fullmatch(value)
    if found is None or int(found["port"] or b"0") > _MAX_PORT:
        return False
    literal = found["literal"]
    if literal is None or _FUTURE.fullmatch(literal):
        return True
    try:
        # A zone identifier ("%eth0") means nothing to another machine.
        IPv6Address(literal.decode("latin-1"))
    except AddressValueError:
        return False
    return b"%" not in literal


def host_name(authority: bytes) -> bytes:
    """Return the authority without its port, and an IPv6 address without brackets."""
    if authority[:1] == b"[":
        return authority[1:].partition(b"]")[0]
    return authority.partition(b":")[0]
