"""Polls the readiness of nodes."""

from __future__ import annotations

import time
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

from attrs import define, field, frozen

from tests.faults._client import Connection, GoneError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration._daemon import Daemon

__all__ = ["ReadinessLog"]

_EVERY = 0.2
"""Seconds between two requests."""


@frozen
class _Check:
    """A response of ``/readyz``."""

    at: float
    """Seconds of the monotonic clock."""
    status: int
    """0: there was none."""


@define(eq=False)
class ReadinessLog:
    """Requests ``/readyz`` of nodes again and again."""

    nodes: Sequence[Daemon]
    checks: dict[str, list[_Check]] = field(init=False, factory=dict)
    """Of each node, by its name."""
    _stopping: Event = field(init=False, factory=Event)
    _threads: list[Thread] = field(init=False, factory=list)

    def __enter__(self) -> Self:
        """Begin."""
        for node in self.nodes:
            self.checks[node.name] = []
            arguments = (node.port, self.checks[node.name])
            thread = Thread(target=self._poll, args=arguments, daemon=True)
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def turned(self, after: float) -> dict[str, float]:
        """Return the nodes that were not ready after a time, and when first."""
        return {
            name: check.at
            for name, checks in self.checks.items()
            for check in reversed(list(checks))
            if check.at > after and check.status == 503
        }

    def are_ready(self) -> bool:
        """Return whether each node was ready when it was last asked."""
        return all(
            checks and checks[-1].status == 200 for checks in self.checks.values()
        )

    def _poll(self, port: int, checks: list[_Check]) -> None:
        with Connection(port) as connection:
            while not self._stopping.wait(_EVERY):
                try:
                    status = connection.request("GET", "/readyz").status
                except (GoneError, TimeoutError):
                    status = 0
                checks.append(_Check(time.monotonic(), status))
