"""Which addresses count as one client where bounds are shared out."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address

__all__ = ["client_key"]

_NETWORK = (1 << 64) - 1


def client_key(address: str) -> str:
    """
    Return what identifies the client at `address`.

    That is an IPv4 address itself, and of an IPv6 address the /64 network, since a
    host or site has at least all addresses of one (RFC 6177).  An IPv4-mapped IPv6
    address (RFC 4291, section 2.5.5.2) counts as the IPv4 address.  Any other text
    stands for itself.
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
