"""Reactors as parameters, and reactors that change what another one does."""

from __future__ import annotations

from typing import Any, TypeAlias

__all__ = ["Reactor", "ReactorProxy"]

Reactor: TypeAlias = Any
"""
A reactor that provides several of Twisted's interfaces.

Python has no type for what provides two interfaces at once.  Where one is enough, that
one is the type.
"""


class ReactorProxy:
    """Does what another reactor does, but for the methods of a subclass."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - each attribute has its own
        """Return what the other reactor has."""
        return getattr(self._reactor, name)
