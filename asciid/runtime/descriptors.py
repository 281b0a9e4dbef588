"""File descriptors: how many there may be, and how many connections they allow."""

from __future__ import annotations

import re
import resource
from contextlib import suppress
from pathlib import Path

from attrs import frozen

__all__ = ["ConnectionLimits", "connection_limits", "descriptor_limit", "raise_limit"]

_UNLIMITED = 2**31 - 1
"""The kernel's upper bound of descriptor numbers."""

_OWN = 64
"""Descriptors reserved for the storage, logs, listening sockets and pipes."""

_METRICS = 128
"""Descriptors of connections to a port for metrics alone."""

_LARGEST_BURST = 1200
"""
Maximum connections that Twisted accepts in one turn.

It takes more in each turn as long as more are waiting, which the backlog bounds.
"""

_LARGEST_LINGERING = 1000
"""Connections that are read after their last answer, such as a 503, at a time."""


@frozen
class ConnectionLimits:
    """How many connections one process may have."""

    served: int
    """More are refused."""
    accepted: int
    """More are not accepted, but wait, until one of them closes."""
    lingering: int
    """More are not read after their last answer."""


def raise_limit() -> None:
    """Raise the soft limit of this process, and those it starts, to the hard one."""
    # systemd's SystemCallFilter= may forbid it, and then it was set as it should be.
    with suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptor_limit() -> int:
    """Return how many descriptors this process may have."""
    try:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    except OSError:
        text = Path("/proc/self/limits").read_text(encoding="ascii")
        found = re.search(r"^Max open files +(\d+)", text, re.MULTILINE)
        soft = resource.RLIM_INFINITY if found is None else int(found[1])
    return _UNLIMITED if soft == resource.RLIM_INFINITY else soft


def connection_limits(wanted: int, limit: int, *, metrics: bool) -> ConnectionLimits:
    """
    Return the limits of a process that should serve `wanted` connections.

    `limit` is that of its descriptors, `metrics` whether it has a port for these alone.
    """
    own = _OWN + _METRICS * metrics + min(_LARGEST_BURST, limit // 4)
    accepted = max(2, limit - own)
    lingering = max(1, min(_LARGEST_LINGERING, limit // 8))
    served = max(1, min(wanted, accepted - lingering))
    return ConnectionLimits(served, accepted, lingering)
