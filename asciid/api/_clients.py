"""The client address of a request, also behind trusted proxies."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from asciid.api._list_fields import all_lines
from asciid.net.client_key import client_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from ipaddress import IPv4Address, IPv4Network, IPv6Network

    from asciid.api._request_interface import Request

    Address = IPv4Address | IPv6Address
    Network = IPv4Network | IPv6Network

__all__ = ["ClientAddresses"]

# RFC 7239, section 4: the parameter "for" of an element, quoted or not; or the quoted
# value of another parameter.
_find_strings_and_for = re.compile(
    rb"""(?:^|;)\s*for=("[^"]*"|[^\s;"]*)|"[^"]*"?""", re.IGNORECASE
).finditer

_MAX_HOPS = 16
"""Maximum hops that are read, from the nearest on."""

_MAX_ELEMENT = 1024
"""Maximum bytes of an element of Forwarded."""

# RFC 7239, section 6: IPv6 addresses are in brackets; a port may follow.
_bare = re.compile(r"\[([^\]]+)\](?::\d+)?|([^:]+)(?::\d+)?")


class ClientAddresses:
    """
    Determines the client's address; only proxies in `trusted` are trusted.

    Trusted proxies report it in Forwarded (RFC 7239), or in X-Forwarded-For if that is
    missing.  Of several hops the last untrusted one is the client, as it may have
    forged those before.  If the nearest 16 are all trusted, the last of them is the
    client.
    """

    def __init__(self, trusted: Iterable[Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def of(self, request: Request) -> str:
        """Return the client's IP address, or ``local`` for a Unix socket."""
        peer: str | None = request.getClientIP()
        if not self._trusted:
            return peer or "local"
        client = _address(peer or "")
        if peer is not None and (client is None or not self._is_trusted(client)):
            return peer
        for hop in _hops(request):
            address = _address(hop)
            if address is None:
                break
            client = address
            if not self._is_trusted(address):
                break
        return str(client or "local")

    def key_of(self, request: Request) -> str:
        """Return the `client_key` of the client's address."""
        return client_key(self.of(request))

    def is_proxy(self, host: str) -> bool:
        """Return whether `host` is the address of a trusted proxy."""
        address = _address(host) if self._trusted else None
        return address is not None and self._is_trusted(address)

    def _is_trusted(self, address: Address) -> bool:
        return any(
            address in network
            for network in self._trusted
            if network.version == address.version
        )


def _hops(request: Request) -> Iterator[str]:
    """Yield the hops that the proxies report, the nearest first."""
    forwarded = all_lines(request, b"forwarded")
    if forwarded:
        for element in _elements(forwarded):
            read = element if len(element) <= _MAX_ELEMENT else b""
            found = (match[1] for match in _find_strings_and_for(read))
            # An element without "for" has no address.
            hop = next((value for value in found if value is not None), b"")
            yield hop.strip(b'"').decode("latin-1")
    else:
        for value in _last_members(all_lines(request, b"x-forwarded-for")):
            yield value.decode("latin-1").strip()


def _elements(forwarded: bytes) -> Iterator[bytes]:
    """
    Yield the nonempty elements, the last one first.

    In this order an unterminated string of a client cannot hide the elements of
    proxies.
    """
    parts: list[bytes] = []
    quotes = 0
    for part in _last_members(forwarded):
        parts.append(part)
        quotes += part.count(b'"')
        # An odd number of quotes: the comma before was inside a string.
        if quotes % 2 == 0:
            element = b",".join(reversed(parts)).strip()
            if element:
                yield element
            parts.clear()
    if parts:
        yield b",".join(reversed(parts))


def _last_members(field: bytes) -> Iterator[bytes]:
    """Return the comma-separated parts of a field, the last one first."""
    return reversed(field.rsplit(b",", _MAX_HOPS)[-_MAX_HOPS:])


def _address(text: str) -> Address | None:
    # An IPv6 address without brackets has no port, and does not match.
    match = _bare.fullmatch(text)
    try:
        return _canonical(ip_address(match[1] or match[2] if match else text))
    except ValueError:
        return None


def _canonical(address: Address) -> Address:
    if isinstance(address, IPv6Address):
        # A dual-stack socket reports IPv4 clients as ::ffff:192.0.2.1.  A zone, as in
        # fe80::1%eth0, is arbitrary text, with which a client could pose as many.
        return address.ipv4_mapped or IPv6Address(int(address))
    return address
