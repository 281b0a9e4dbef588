"""Receives the removals that other nodes commit, by LISTEN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred, succeed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["CHANNEL", "SOLE_NODE", "IListener", "SoleNode"]

CHANNEL = "asciid_removed"
"""The channel of NOTIFY; a payload is hashes of 64 hexadecimal digits each."""


class IListener(Protocol):
    """Receives the removals of other nodes."""

    @property
    def is_current(self) -> bool:
        """Whether each removal that was committed a second ago was received."""

    def start(self, on_removed: Callable[[Sequence[str] | None], object]) -> None:
        """Begin to listen; `on_removed` is as in `IEngine.start`."""

    def stop(self) -> Deferred[None]:
        """Disconnect."""


class SoleNode:
    """The listener of a node that has the database to itself, as in tests."""

    is_current = True

    def start(self, on_removed: Callable[[Sequence[str] | None], object]) -> None:
        """Do nothing: there are no removals of others."""

    def stop(self) -> Deferred[None]:
        """Do nothing."""
        return succeed(None)


SOLE_NODE = SoleNode()
