"""
The tiny Klein app that `run_cases.py` talks to, behind the server.

usage: python -m tests.http.cases.server; prints its port, ends with its input.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from klein import Klein
from twisted.internet import reactor
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO

from asciid.http import KleinFactory, Limits, body_of
from asciid.net.endpoints import endpoint_from

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort
    from twisted.web.iweb import IRequest

LIMITS = Limits(header_timeout=3, body_timeout=5)
"""Timeouts as short as the slowest well-behaved case allows, so that no test waits long."""

app = Klein()


@app.route("/", methods=["GET"])
def root(request: IRequest) -> bytes:
    """Show that the server is alive."""
    return b"root"


@app.route("/a", methods=["GET"])
def a(request: IRequest) -> bytes:
    """Answer with A."""
    return b"A"


@app.route("/b", methods=["GET"])
def b(request: IRequest) -> bytes:
    """Answer with B."""
    return b"B"


@app.route("/echo", methods=["GET", "POST", "PUT"])
def echo(request: IRequest) -> bytes:
    """Answer with the body of the request."""
    return body_of(request)


class EndOfInput(Protocol):
    """Stops the reactor when the process that started it has ended."""

    def connectionLost(self, reason: object = None) -> None:  # noqa: ARG002  # Protocol's
        """Stop."""
        reactor.stop()  # type: ignore[attr-defined]


def write_port(port: IListeningPort) -> None:
    """Write the number of a port of TCP."""
    sys.stdout.write(f"{port.getHost().port}\n")  # type: ignore[attr-defined]
    sys.stdout.flush()


def main() -> None:
    """Serve until the input ends."""
    factory = KleinFactory(app, reactor=reactor, limits=LIMITS)  # type: ignore[arg-type]
    endpoint = endpoint_from("tcp:0:interface=127.0.0.1", reactor)
    endpoint.listen(factory).addCallback(write_port)
    StandardIO(EndOfInput())
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
