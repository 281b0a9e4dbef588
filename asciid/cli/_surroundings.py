"""What a command runs in, which tests replace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from twisted.web.iweb import IAgent

__all__ = ["Surroundings"]


@frozen
class Surroundings:
    """What a command runs in; left out, it is the real thing."""

    reactor: Any = None
    """The reactor to run."""
    agent: IAgent | None = None
    """What sends requests."""
