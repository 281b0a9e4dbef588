"""Maps addresses to clients, for limits that clients share."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address

__all__ = ["client_key"]

_NETWORK = (1 << 64) - 1


def client_key(address: str) -> str:
    """
    Return the key of the client at `address`.

    That is an IPv4 address itself, and the /64 network of an IPv6 address, which
    belongs to one host or site (RFC 6177).  An IPv4-mapped IPv6 address (RFC 4291,
    section 2.5.5.2) counts as the IPv4 address.  Any other text is its own key.
    """
    return _network_of(address) if ":" in address else address


@lru_cache(1024)
def _network_of(address: str) -> str:
    try:
        parsed = IPv6Address(address)
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) & ~_NETWORK)}/64"
