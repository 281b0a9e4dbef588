"""What a command runs in, which tests replace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from asciid.runtime.reactor import Reactor, installed_reactor

if TYPE_CHECKING:
    from twisted.web.iweb import IAgent


__all__ = ["Surroundings"]


@frozen
class Surroundings:
    """What a command runs in; left out, it is the real thing."""

    given_reactor: Reactor = None
    """The reactor to run."""
    agent: IAgent | None = None
    """What sends requests."""

    @property
    def reactor(self) -> Reactor:
        """The reactor to run; the real one is installed by that."""
        if self.given_reactor is not None:
            return self.given_reactor
        return installed_reactor()
