"""Other processes that read the storage of a store that commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from twisted.internet.defer import Deferred, succeed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ALONE", "IPeers", "Use"]

Use = Literal["shared", "closed"]
"""Whether to have the storage file open, as always, or closed."""


class IPeers(Protocol):
    """The processes that read what a store commits, and do as it says."""

    def forget(self, hashes: Sequence[str]) -> Deferred[None]:
        """Have all of them serve images no longer from memory; answer once they do."""

    @property
    def pause(self) -> Callable[[Callable[[], None]], None] | None:
        """The `pause` of the `FileWriter`, which they ask; None is its own."""

    def use(self, how: Use) -> Deferred[None]:
        """
        Have all of them use the storage file like that; answer once they do.

        Errors: `StorageInUseError` if one does not.
        """


class _Alone:
    """There are none."""

    pause = None

    def forget(self, _: Sequence[str]) -> Deferred[None]:
        return succeed(None)

    def use(self, _: Use) -> Deferred[None]:
        return succeed(None)


ALONE: IPeers = _Alone()
"""For a store whose storage no other process reads."""
