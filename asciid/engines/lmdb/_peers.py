"""Other processes that read the storage file of the one that commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred, succeed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ALONE", "IPeers"]


class IPeers(Protocol):
    """The processes that read the file to which this one commits."""

    def count_removal(self) -> int:
        """
        Count that images were removed, before that is acknowledged; in any thread.

        From then on they serve nothing from their caches until `evict` has reached them
        with the count, which is returned.
        """

    def count_file(self) -> None:
        """Count that another file may have taken the place of the one they read."""

    def evict(self, removals: int, hashes: Sequence[str] | None) -> None:
        """Have all of them evict these images from their caches; None is all images."""

    @property
    def pause(self) -> Callable[[Callable[[], None]], None] | None:
        """The `pause` of the `BatchWriter` that they apply to; None is its own."""

    def close_file(self) -> Deferred[None]:
        """
        Have all of them close the storage file; fires once they have.

        Errors: `StorageInUseError` if one does not.
        """

    def open_file(self) -> Deferred[None]:
        """Have all of them open the storage file again; fires once they have."""


class _Alone:
    """There are none."""

    pause = None

    def count_removal(self) -> int:
        return 0

    def count_file(self) -> None:
        pass

    def evict(self, removals: int, hashes: Sequence[str] | None) -> None:
        pass

    def close_file(self) -> Deferred[None]:
        return succeed(None)

    def open_file(self) -> Deferred[None]:
        return succeed(None)


ALONE: IPeers = _Alone()
"""For a storage file that no other process reads."""
