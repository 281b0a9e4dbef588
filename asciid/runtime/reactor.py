"""Reactors as parameters: their type, and the default."""

from __future__ import annotations

from typing import Any, TypeAlias

__all__ = ["Reactor", "installed_reactor"]

Reactor: TypeAlias = Any
"""
A reactor that provides several of Twisted's interfaces.

Python has no type for what provides two interfaces at once.  Where one is enough, that
one is the type.
"""


def installed_reactor() -> Reactor:
    """Return the reactor of this process, which the first call installs."""
    from twisted.internet import reactor  # noqa: PLC0415 - importing installs it

    return reactor
