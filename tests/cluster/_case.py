"""Base of the tests with nodes: daemons on one database."""

from __future__ import annotations

import time
from threading import Barrier, Thread
from typing import TYPE_CHECKING

from attrs import frozen

from tests.faults._case import FaultTestCase
from tests.faults._client import Answer, Connection
from tests.integration._daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ClusterTestCase", "Request", "simultaneously"]


@frozen
class Request:
    """A request, with JSON if it has a body that is no image."""

    method: str
    target: str
    body: bytes = b""
    content_type: str = "text/plain"


def simultaneously(
    nodes: Sequence[Daemon], *requests: Sequence[Request]
) -> list[tuple[Answer, ...]]:
    """
    Send each node its requests, the Nth ones at the same time.

    Return the responses to the first ones, in the order of the nodes, and so on.
    """
    barrier = Barrier(len(nodes), timeout=60)
    answers: list[list[Answer]] = [[] for _ in nodes]

    def send(port: int, own: Sequence[Request], received: list[Answer]) -> None:
        with Connection(port) as connection:
            for one in own:
                barrier.wait()
                received.append(
                    connection.request(
                        one.method, one.target, one.body, one.content_type
                    )
                )

    threads = [
        Thread(target=send, args=(node.port, own, received), daemon=True)
        for node, own, received in zip(nodes, requests, answers, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if {len(received) for received in answers} != {len(own) for own in requests}:
        message = "a node did not respond"
        raise RuntimeError(message)
    return list(zip(*answers, strict=True))


class _Node(Daemon):
    """A daemon that ends when the test process dies."""

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that starts it."""
        return ["setpriv", "--pdeathsig=KILL", *super().command(*arguments)]


class ClusterTestCase(FaultTestCase):
    """Starts nodes, which do not outlive the test, on a database."""

    def node(self, conninfo: str, *options: str, name: str = "one") -> Daemon:
        """Start a daemon on a database; `name` is that of its log."""
        options = ("--storage", conninfo, *options)
        daemon = _Node(self.directory, options, name=name)
        self.addCleanup(daemon.kill)
        return daemon.start()

    def nodes(self, conninfo: str, *options: str) -> tuple[Daemon, Daemon]:
        """Start two daemons on a database."""
        first = self.node(conninfo, *options, name="one")
        return first, self.node(conninfo, *options, name="two")

    def wait_for(
        self, condition: Callable[[], object], what: str, seconds: float = 30
    ) -> float:
        """Poll until a condition holds; return the seconds that it took."""
        began = time.monotonic()
        while not condition():
            self.assertLess(time.monotonic() - began, seconds, what)
            time.sleep(0.01)
        return time.monotonic() - began
