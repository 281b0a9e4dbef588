"""
A limit that is shared fairly among clients.

While there is room, a client may hold any part of it; a single client may hold all.
Once the limit is reached, a client that needs more takes it from the client that holds
the most, if that would still hold more than the first one.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import islice
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["SUSTAINED", "FairLimit", "IHolder"]

SUSTAINED = 10.0
"""
Seconds for which a limit must be reached repeatedly to count as exhausted.

After as many seconds without an event it no longer does.
"""

_MOST_CLIENTS = 8
_MOST_HOLDERS = 256
_MOST_EVICTIONS = 16
"""Maximum holders that one call examines or evicts, which bounds its time."""


class IHolder(Protocol):
    """Holds a part of a limit for a client."""

    def eviction_gain(self, now: float) -> float | None:
        """
        Return the gain of an eviction, for comparison with others of the client.

        None if it must not be evicted.
        """

    def evict(self) -> None:
        """End this holder; it must give back its units before it returns."""


class _Episode:
    """Events, each at most `SUSTAINED` seconds after the one before."""

    def __init__(self) -> None:
        self._began = self._last = float("-inf")

    def add(self, now: float) -> None:
        """Record an event."""
        if now - self._last > SUSTAINED:
            self._began = now
        self._last = now

    def is_sustained(self, now: float) -> bool:
        """Return whether events have continued for `SUSTAINED` seconds until now."""
        return now - self._last <= SUSTAINED <= self._last - self._began


class FairLimit:
    """
    Shares `capacity` units among clients, identified by their `client_key`.

    `clock` returns monotonic seconds.  The time of a call is bounded, however many
    holders and clients there are.
    """

    def __init__(self, capacity: int, clock: Callable[[], float]) -> None:
        self.capacity = capacity
        self.used = 0
        """Units held."""
        self.evictions = 0
        """Number of holders evicted for other clients, since the start."""
        self._clock = clock
        # Client -> its holders, the oldest first.
        self._holders: dict[str, dict[IHolder, int]] = {}
        self._totals: dict[str, int] = {}
        # Units of each client, ascending; maintained from when the limit was reached
        # until half of it is free.
        self._ranking: list[tuple[int, str]] | None = None
        self._reached = _Episode()
        self._starved = _Episode()

    @property
    def largest(self) -> int:
        """Units of the client that holds the most."""
        return max(self._totals.values(), default=0)

    @property
    def is_exhausted(self) -> bool:
        """Whether clients have been refused or evicted repeatedly until now."""
        return self._reached.is_sustained(self._clock())

    @property
    def is_starving(self) -> bool:
        """Whether clients have been refused their equal share."""
        return self._starved.is_sustained(self._clock())

    def take(self, client: str, holder: IHolder, amount: int) -> bool:
        """
        Add `amount` units to `holder`; return whether that was possible.

        Others may be evicted for it.  On failure `holder` keeps its units.
        """
        if self.used + amount > self.capacity and not self._make_room(client, amount):
            return False
        holders = self._holders.get(client)
        if holders is None:
            self._holders[client] = {holder: amount}
        else:
            holders[holder] = holders.get(holder, 0) + amount
        self._add(client, amount)
        return True

    def give_back(self, client: str, holder: IHolder) -> None:
        """Release all units of `holder`."""
        holders = self._holders.get(client)
        if holders is None:
            return
        amount = holders.pop(holder, 0)
        if not holders:
            del self._holders[client]
        if amount:
            self._add(client, -amount)

    def _add(self, client: str, amount: int) -> None:
        self.used += amount
        before = self._totals.pop(client, 0)
        after = before + amount
        if after:
            self._totals[client] = after
        ranking = self._ranking
        if ranking is None:
            return
        if 2 * self.used < self.capacity:
            self._ranking = None
            return
        if before:
            del ranking[bisect_left(ranking, (before, client))]
        if after:
            insort(ranking, (after, client))

    def _make_room(self, client: str, amount: int) -> bool:
        now = self._clock()
        self._reached.add(now)
        wanted = self._totals.get(client, 0) + amount
        for _ in range(_MOST_EVICTIONS):
            victim = self._find_victim(client, wanted, now)
            if victim is None:
                break
            self.evictions += 1
            victim.evict()
            if self.used + amount <= self.capacity:
                return True
        clients = len(self._totals) + (client not in self._totals)
        if wanted * clients <= self.capacity:
            self._starved.add(now)
        return False

    def _find_victim(self, client: str, wanted: int, now: float) -> IHolder | None:
        for other in self._larger_clients(client, wanted):
            best = None
            most = -1.0
            for holder in islice(self._holders[other], _MOST_HOLDERS):
                gain = holder.eviction_gain(now)
                if gain is not None and gain > most:
                    best, most = holder, gain
            if best is not None:
                return best
        return None

    def _larger_clients(self, client: str, wanted: int) -> Iterator[str]:
        # Clients that hold more than the client would, the largest first.
        if self._ranking is None:
            self._ranking = sorted((total, key) for key, total in self._totals.items())
        for total, other in islice(reversed(self._ranking), _MOST_CLIENTS):
            if total <= wanted:
                return
            if other != client:
                yield other
