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

    def forget(self, removals: int, hashes: Sequence[str] | None) -> None:
        """
        Have all of them keep images no longer in memory, or none at all.

        With that they have caught up with so many `Generations.removals`.
        """

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

    def forget(self, removals: int, hashes: Sequence[str] | None) -> None:
        pass

    def use(self, _: Use) -> Deferred[None]:
        return succeed(None)


ALONE: IPeers = _Alone()
"""For a store whose storage no other process reads."""
