"""The reactor and the agent of a command, for tests to replace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from asciid.runtime.reactor import Reactor, installed_reactor

if TYPE_CHECKING:
    from twisted.web.iweb import IAgent


__all__ = ["Dependencies"]


@frozen
class Dependencies:
    """The reactor and the agent of a command; None means the real one."""

    given_reactor: Reactor = None
    """The reactor to run."""
    agent: IAgent | None = None
    """The agent that sends requests."""

    @property
    def reactor(self) -> Reactor:
        """The reactor to run; installs the real one."""
        if self.given_reactor is not None:
            return self.given_reactor
        return installed_reactor()
