"""The default callback."""

from __future__ import annotations

__all__ = ["do_nothing"]


def do_nothing(*_: object) -> None:
    """Do nothing."""
