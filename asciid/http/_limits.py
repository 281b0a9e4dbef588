"""Bounds of the HTTP server on what clients may use."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from attrs import Attribute, field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Limits"]

KIB = 1024
MIB = 1024 * KIB


def _positive(_: Limits, attribute: Attribute[Any], value: float) -> None:
    if value <= 0:
        message = f"{attribute.name} must be greater than 0, not {value}"
        raise ValueError(message)


def _not_negative(_: Limits, attribute: Attribute[Any], value: float) -> None:
    if value < 0:
        message = f"{attribute.name} must be at least 0, not {value}"
        raise ValueError(message)


def _frozen(bodies: Mapping[str, int]) -> Mapping[str, int]:
    return MappingProxyType(dict(bodies))


@frozen(kw_only=True)
class Limits:
    """
    Bounds on size, number and time; sizes are bytes and times are seconds.

    :raises ValueError: when a bound is negative, or zero where it must not be.
    """

    request_line: int = field(default=8 * KIB, validator=_positive)
    """Bytes of method, target and version together; more is 414 (RFC 9112 3)."""

    path: int = field(default=KIB, validator=_positive)
    """Bytes of a percent-encoded path that may match a route; longer ones are 404."""

    header_block: int = field(default=16 * KIB, validator=_positive)
    """Bytes of the request line and all fields together; more is 431 (RFC 6585 5)."""

    header_fields: int = field(default=100, validator=_positive)
    """Number of field lines in one request; more is 431."""

    chunk_overhead: int = field(default=4 * KIB, validator=_positive)
    """
    Bytes of chunk extensions and trailer fields in one body, added up; more is
    413.  The shortest possible framing of each chunk is not counted.
    """

    body: int = field(default=MIB, validator=_positive)
    """Bytes of a body, for endpoints not named in ``endpoint_bodies``; more is 413."""

    bodies: int = field(default=256 * MIB, validator=_positive)
    """
    Bytes of all bodies together, from their first byte to the response; more is 503 for
    the clients that hold the most (see :class:`asciid.net.fair_limit.FairLimit`).  Of a
    streamed body at most 256 KiB count.  A body that was received together with its
    head, for a handler that does not stream it, is not counted.
    """

    endpoint_bodies: Mapping[str, int] = field(factory=dict, converter=_frozen)
    """Bytes of a body by the name of the Klein endpoint that takes it."""

    time_slice: float = field(default=0.0002, validator=_positive)
    """
    Seconds for which one connection is served before other connections are; the
    request in progress is finished.  Pipelined requests wait unparsed, in at most
    ``read_ahead`` bytes.
    """

    read_ahead: int = field(default=64 * KIB, validator=_positive)
    """
    Bytes kept unparsed while a request is in progress; above it reading pauses.  One
    read of the transport (64 KiB) may exceed it.
    """

    connections: int = field(default=20_000, validator=_positive)
    """
    Connections open at one time.  The next replaces the most idle one of the client
    that has the most, or else is refused with 503 and closed.
    """

    lingering: int = field(default=1_000, validator=_positive)
    """
    Connections that are read after their last response, besides ``connections``; with
    more, those of the client that has the most are closed at once.
    """

    accepted: int = field(default=2**31 - 1, validator=_positive)
    """
    Connections open at one time, including those that are refused.  No more are
    accepted until one closes: there may be no file descriptor for them.
    """

    header_timeout: float = field(default=10.0, validator=_positive)
    """Seconds from the first byte of a request to the end of its header block."""

    body_timeout: float = field(default=20.0, validator=_positive)
    """Seconds a body may go without a further byte of content."""

    body_rate: float = field(default=512.0, validator=_positive)
    """
    Minimum rate of a body, in bytes of content a second; it may be ``body_timeout``
    seconds behind.
    """

    body_time: float = field(default=512.0, validator=_positive)
    """
    Seconds in which as many bytes of a body must arrive as are held of it, if that is a
    higher rate than ``body_rate``.
    """

    idle_timeout: float = field(default=60.0, validator=_positive)
    """Seconds a connection may stay open between two requests."""

    write_timeout: float = field(default=60.0, validator=_positive)
    """Seconds a client may leave response bytes unread without any progress."""

    linger_bytes: int = field(default=64 * MIB, validator=_not_negative)
    """
    Bytes that are read and discarded after the last response on a connection, so
    that a client that is still sending does not lose the response to a TCP reset
    (RFC 9112 9.6).
    """

    linger_time: float = field(default=30.0, validator=_not_negative)
    """Seconds for which they are read."""

    linger_rate: float = field(default=128.0 * MIB, validator=_positive)
    """Bytes a second that are read on all such connections together."""

    linger_pause: float = field(default=5.0, validator=_positive)
    """
    Seconds in which a client must send ``body_rate`` bytes each, for the reading to
    continue.
    """

    sweep_interval: float = field(default=1.0, validator=_positive)
    """Seconds between two checks of the timeouts of all connections."""
