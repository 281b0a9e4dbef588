"""The type of reactors that are parameters."""

from __future__ import annotations

from typing import Any, TypeAlias

__all__ = ["Reactor"]

Reactor: TypeAlias = Any
"""
A reactor that provides several of Twisted's interfaces.

Python has no type for what provides two interfaces at once.  Where one is enough, that
one is the type.
"""
