"""What one client may cost: every bound of the front in one frozen value."""

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
    """Bytes of a path that may lead to a route, percent-encoded; no longer one does."""

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
    Bytes of all bodies together, from their first byte to the answer; more is 503 for
    the clients that hold the most (see :class:`asciid.net.fair_limit.FairLimit`).  Of
    one that is streamed 256 KiB count at the most.  A body that was received together
    with its head, for a handler that does not stream it, is not counted.
    """

    endpoint_bodies: Mapping[str, int] = field(factory=dict, converter=_frozen)
    """Bytes of a body by the name of the Klein endpoint that takes it."""

    turn: float = field(default=0.0002, validator=_positive)
    """
    Seconds that one connection is served before the others get their turn; what is
    under way then is finished.  Requests behind wait unparsed, in ``read_ahead``
    bytes at most.
    """

    read_ahead: int = field(default=64 * KIB, validator=_positive)
    """
    Bytes kept unparsed while a request is at work; past it reading pauses.  One
    read of the transport (64 KiB) may come on top.
    """

    connections: int = field(default=20_000, validator=_positive)
    """
    Connections open at one time.  The next takes the place of the most idle one of the
    client that has the most, or else is answered 503 and closed.
    """

    lingering: int = field(default=1_000, validator=_positive)
    """
    Connections that are read after their last answer, besides ``connections``; with
    more, those of the client that has the most are closed at once.
    """

    accepted: int = field(default=2**31 - 1, validator=_positive)
    """
    Connections open at one time, those that are refused among them.  No more are
    accepted until one closes: there may be no file descriptor for them.
    """

    header_timeout: float = field(default=10.0, validator=_positive)
    """Seconds from the first byte of a request to the end of its header block."""

    body_timeout: float = field(default=20.0, validator=_positive)
    """Seconds a body may go without a further byte of content."""

    body_rate: float = field(default=512.0, validator=_positive)
    """
    Bytes of content a second that a body must bring; it may be ``body_timeout``
    seconds behind that.
    """

    body_time: float = field(default=512.0, validator=_positive)
    """
    Seconds in which a body must bring as many bytes as are held of it, if that is a
    higher rate than ``body_rate``.
    """

    idle_timeout: float = field(default=60.0, validator=_positive)
    """Seconds a connection may stay open between two requests."""

    write_timeout: float = field(default=60.0, validator=_positive)
    """Seconds a client may leave response bytes unread without any progress."""

    linger_bytes: int = field(default=64 * MIB, validator=_not_negative)
    """
    Bytes that are read and thrown away after the last answer on a connection, so
    that a client that is still sending does not lose the answer to a TCP reset
    (RFC 9112 9.6).
    """

    linger_time: float = field(default=30.0, validator=_not_negative)
    """Seconds for which they are read."""

    linger_rate: float = field(default=128.0 * MIB, validator=_positive)
    """Bytes a second that are read on all such connections together."""

    linger_pause: float = field(default=5.0, validator=_positive)
    """
    Seconds in which a client must send ``body_rate`` bytes each, for the reading to
    go on.
    """

    sweep_interval: float = field(default=1.0, validator=_positive)
    """Seconds between two looks at the timeouts of all connections."""
