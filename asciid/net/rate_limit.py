"""A limit on how often each client may do something."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Rate", "RateLimit"]

_MAX_CLIENTS = 65_536
"""Clients whose buckets are kept: about 12 MiB."""

_ROUNDING = 1e-6
"""Seconds that sums of intervals may be off."""


@frozen
class Rate:
    """A number of events in a period."""

    count: int
    """From 1."""
    seconds: int
    """Length of the period, from 1."""


class RateLimit:
    """
    One token bucket per client, by its `client_key`.

    A bucket holds `rate.count` tokens and is filled with as many per period.  One of
    `processes`, which serve the same clients, has its part of both, but at least one
    token.  `clock` returns monotonic seconds.

    It keeps `max_clients` buckets, and forgets those that were not used for longest:
    these are full again, unless more clients than that arrive within a period.
    """

    def __init__(
        self,
        rate: Rate,
        clock: Callable[[], float],
        *,
        processes: int = 1,
        max_clients: int = _MAX_CLIENTS,
    ) -> None:
        self._clock = clock
        self._interval = rate.seconds * processes / rate.count
        self._burst = max(1, rate.count // processes)
        self._max_clients = max_clients
        # The time at which the bucket of a client will be full.
        self._full: OrderedDict[str, float] = OrderedDict()

    @property
    def clients(self) -> int:
        """The number of buckets."""
        return len(self._full)

    def wait(self, client: str) -> float:
        """Return the seconds until `client` has a token; 0 if it has one."""
        full = self._full.get(client, 0.0)
        wait = full - (self._burst - 1) * self._interval - self._clock()
        return wait if wait > _ROUNDING else 0.0

    def take(self, client: str) -> float:
        """
        Take a token of `client`; return 0.

        If it has none, return the seconds until it has one.
        """
        wait = self.wait(client)
        if not wait:
            now = self._clock()
            self._full[client] = max(self._full.get(client, now), now) + self._interval
            if len(self._full) > self._max_clients:
                self._full.popitem(last=False)
        if client in self._full:
            self._full.move_to_end(client)
        return wait
