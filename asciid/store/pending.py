"""How many uploads may be pending, in all and of one client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import frozen

from asciid.errors import ClientUploadsError, TooManyUploadsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.errors import AsciidError

__all__ = ["NO_LIMITS", "PendingLimits", "PendingUploads"]

KeyT = TypeVar("KeyT")


@frozen
class PendingLimits:
    """Bounds on the number of pending uploads; 0 is no bound."""

    total: int = 0
    per_client: int = 0


NO_LIMITS = PendingLimits()


class PendingUploads(Generic[KeyT]):
    """
    Counts the pending uploads, and those that each client has begun.

    Uploads of clients are counted from the start of the process; all together once
    `total` is set.
    """

    def __init__(self, limits: PendingLimits) -> None:
        self._limits = limits
        self.total: int | None = None
        """Pending uploads; None while they are to be counted."""
        self._clients: dict[KeyT, str] = {}
        self._owned: dict[str, dict[KeyT, None]] = {}
        """The uploads of each client, in the order of their beginning."""
        # Clients at their limit, all of whose uploads were checked to be pending.
        self._checked: set[str] = set()

    @property
    def limits(self) -> PendingLimits:
        """The bounds in force."""
        return self._limits

    @property
    def tracked(self) -> tuple[int, int]:
        """The uploads whose client is remembered, and the clients; any thread."""
        return len(self._clients), len(self._owned)

    def refusal(
        self, client: str, is_pending: Callable[[KeyT], bool]
    ) -> AsciidError | None:
        """Return why `client` may not begin an upload, or None if it may."""
        total, per_client = self._limits.total, self._limits.per_client
        if total and (self.total or 0) >= total:
            return TooManyUploadsError(total)
        if not per_client:
            return None
        owned = self._owned.get(client)
        if owned is None or len(owned) < per_client:
            return None
        if client not in self._checked:
            # Some may have ended in another process.
            for key in list(owned):
                if not is_pending(key):
                    self._disown(key)
            if len(owned) < per_client:
                return None
            # Checking thousands for each refusal would delay all writes.
            self._checked.add(client)
        return ClientUploadsError(per_client)

    def invalidate(self) -> None:
        """Recount uploads on the next use: another process may have ended some."""
        self.total = None
        self._checked.clear()

    def started(self, key: KeyT, client: str) -> None:
        """Count an upload; one without a client counts in all only."""
        if self.total is not None:
            self.total += 1
        if key in self._clients:
            # The number of an upload that was rolled back is given again.
            self._disown(key)
        if client and self._limits.per_client:
            self._clients[key] = client
            self._owned.setdefault(client, {})[key] = None

    def ended(self, key: KeyT) -> None:
        """Count an upload no more."""
        if self.total is not None:
            self.total -= 1
        if key in self._clients:
            self._disown(key)

    def owned_beside(self, key: KeyT) -> list[KeyT]:
        """Return the uploads of the client of one, whose client is remembered."""
        return list(self._owned[self._clients[key]])

    def _disown(self, key: KeyT) -> None:
        client = self._clients.pop(key)
        owned = self._owned[client]
        del owned[key]
        if not owned:
            del self._owned[client]
            self._checked.discard(client)
