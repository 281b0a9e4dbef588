"""
Opens the listening sockets of an endpoint.

Processes that accept from one socket share connections unevenly: the first one to wake
up accepts the whole backlog.  With SO_REUSEPORT (see socket(7)) each has its own
socket, and the kernel picks one for every connection.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet.abstract import isIPv6Address
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError

from asciid.net._unix_socket import UnixName, open_unix_socket
from asciid.net.description import NUMBER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asciid.net.description import Description

__all__ = ["BACKLOG", "ListeningSockets", "open_sockets"]

BACKLOG = 1024
"""
The backlog; Linux limits it to net.core.somaxconn.

If the backlog is full, a client retransmits its SYN after a second.  Twisted's default
of 50 is exceeded within two milliseconds when many clients connect at once.
"""

_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EADDRNOTAVAIL})
"""The errors of a machine without IPv6."""


@frozen
class ListeningSockets:
    """Sockets that listen on one address; `close` removes `name`, too."""

    sockets: Sequence[socket.socket]
    name: UnixName | None = None

    @property
    def address(self) -> str:
        """The address as text."""
        first = self.sockets[0]
        if first.family is socket.AF_UNIX:
            return f"unix:{first.getsockname()}"
        host, port = first.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def close(self) -> None:
        """Close the sockets; copies inherited by other processes stay open."""
        if self.name is not None:
            self.name.remove()
        for each in self.sockets:
            each.close()


def open_sockets(description: Description, count: int = 1) -> ListeningSockets:
    """
    Listen on an endpoint: `count` sockets for TCP and TLS, otherwise one.

    Errors: `CannotListenError`, `OSError`; `ValueError` for an endpoint of a plugin.
    """
    values = description.values
    backlog = int(values.get("backlog", BACKLOG))
    port = int(values.get("port", 0))
    match description.kind:
        case "unix":
            mode = int(values.get("mode", "666"), 8)
            opened, name = open_unix_socket(values["address"], backlog, mode)
            return ListeningSockets([opened], name)
        case "systemd":
            return ListeningSockets([_passed_socket(description)])
        case "tcp" | "ssl":
            interface = values.get("interface", "")
        case "tcp6":
            interface = values.get("interface", "::")
        case _ if description.kind == NUMBER:
            return _open_dual_stack(port, backlog, count)
        case _:
            message = "--workers requires an endpoint tcp, tcp6, ssl, unix or systemd"
            raise ValueError(message)
    return _open_tcp(interface, port, backlog, count)


def _open_dual_stack(port: int, backlog: int, count: int) -> ListeningSockets:
    """Listen on all addresses of IPv6 and IPv4, or only of IPv4 without IPv6."""
    try:
        return _open_tcp("::", port, backlog, count, dual_stack=True)
    except CannotListenError as error:
        if getattr(error.socketError, "errno", None) not in _NO_IPV6:
            raise
        return _open_tcp("", port, backlog, count)


def _open_tcp(
    interface: str, port: int, backlog: int, count: int, *, dual_stack: bool = False
) -> ListeningSockets:
    opened: list[socket.socket] = []

    def open_one(port: int, *, shared: bool) -> socket.socket:
        family = socket.AF_INET6 if isIPv6Address(interface) else socket.AF_INET
        one = socket.socket(family)
        opened.append(one)
        one.settimeout(0)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if dual_stack:
            # Overrides net.ipv6.bindv6only.
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if shared:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family is socket.AF_INET6:
            found = socket.getaddrinfo(interface, port, type=socket.SOCK_STREAM)
            one.bind(found[0][4])  # includes the scope of a link-local address
        else:
            one.bind((interface, port))
        one.listen(backlog)
        return one

    try:
        if count == 1:
            return ListeningSockets([open_one(port, shared=False)])
        # Otherwise another program on the port would go unnoticed.
        with open_one(port, shared=False) as probe:
            port = probe.getsockname()[1]
        return ListeningSockets([open_one(port, shared=True) for _ in range(count)])
    except OSError as error:
        for each in opened:
            each.close()
        raise CannotListenError(interface, port, error) from error


def _passed_socket(description: Description) -> socket.socket:
    """Return a socket passed by the service manager: sd_listen_fds(3)."""
    # Twisted has read which there are, once, and before any fork.
    passed: Any = serverFromString(None, description.inner)
    adopted = socket.socket(fileno=passed.fileno)
    adopted.settimeout(0)
    return adopted
