"""HAProxy in front of nodes, with the configuration of contrib/."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from attrs import define

from tests.cluster._programs import Program, find, free_port, make_directory, need
from tests.contrib._proxy import cluster_configuration

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Balancer", "new_balancer"]


@define(eq=False)
class Balancer:
    """An HAProxy on `port` of 127.0.0.1."""

    port: int
    program: Program

    def start(self) -> Balancer:
        """Start it and wait until it accepts connections."""
        self.program.start(self._listens)
        return self

    def end(self) -> None:
        """End it at the end of a test."""
        self.program.end()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def new_balancer(ports: Sequence[int]) -> Balancer:
    """
    Return a started HAProxy in front of nodes on two ports of 127.0.0.1.

    The test is skipped where it is missing.
    """
    need("haproxy")
    directory, port = make_directory(), free_port()
    text = cluster_configuration(*ports)
    text = text.replace("bind :80\n", f"bind 127.0.0.1:{port}\n")
    # Only root can become another user.
    for line in ("user haproxy", "group haproxy", "chroot /var/lib/haproxy"):
        text = text.replace(f"    {line}\n", "")
    file = directory / "haproxy.cfg"
    file.write_text(text, encoding="utf-8")
    program = Program(directory, "haproxy", [find("haproxy"), "-db", "-f", str(file)])
    return Balancer(port, program).start()
