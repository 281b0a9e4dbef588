"""Tests of the command as a process, over real sockets."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol
from twisted.trial.unittest import TestCase
from twisted.web.server import Site

from tests.client.servers import Server

if TYPE_CHECKING:
    from twisted.python.failure import Failure

reactor: Any = _reactor
MAIN = "from asciid.cli.main import main; main()"


class Outcome(ProcessProtocol):
    """
    Collects the output of a process; ``ended`` fires with its exit code.

    That is the negative number of a signal which ended it, as in `subprocess`.
    """

    def __init__(self) -> None:
        self.out = b""
        self.ended: Deferred[int] = Deferred()

    def outReceived(self, data: bytes) -> None:
        """Keep standard output."""
        self.out += data

    def errReceived(self, data: bytes) -> None:
        """Keep standard error in the same place."""
        self.out += data

    def processEnded(self, reason: Failure) -> None:
        """Fire with the exit code."""
        error = reason.value
        assert isinstance(error, ProcessDone | ProcessTerminated)
        code = error.exitCode
        self.ended.callback(-(error.signal or 0) if code is None else code)


class ProcessTests(TestCase):
    """``asciid simulate`` in a process of its own."""

    timeout = 60

    def simulate(
        self, factory: Factory[Any], *args: str, terminal: bool = False
    ) -> tuple[Outcome, Any]:
        """
        Serve `factory` on a free port and start a simulation against it.

        It gets a `terminal`, or pipes.
        """
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        outcome = Outcome()
        where = ["-host", "127.0.0.1", "-port", str(port.getHost().port)]
        process = reactor.spawnProcess(
            outcome,
            sys.executable,
            [sys.executable, "-c", MAIN, "simulate", *where, *args],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "TERM": "xterm",
            },
            usePTY=terminal,
        )
        return outcome, process

    async def test_success(self) -> None:
        """It succeeds with a right server, over connections that are kept."""
        server = Server()
        site: Any = Site(server.app.resource())
        connections = []
        build: Any = site.buildProtocol

        def build_protocol(address: object) -> object:
            connections.append(address)
            return build(address)

        self.patch(site, "buildProtocol", build_protocol)
        outcome, _ = self.simulate(site, "-files=12", "-parallel=2", "-chunksize=50")
        self.assertEqual(await outcome.ended, 0, outcome.out)
        self.assertIn(b"SUCCESS!", outcome.out.splitlines()[-1])
        self.assertEqual(len(server.images), 12)
        self.assertLessEqual(len(connections), 16)

    async def test_terminal(self) -> None:
        """On a terminal a table follows, after it has stood below the log."""
        site = Site(Server().app.resource())
        outcome, _ = self.simulate(site, "-files=9", "-rate=9", terminal=True)
        self.assertEqual(await outcome.ended, 0, outcome.out)
        log, _, table = outcome.out.partition(b"SUCCESS!")
        self.assertRegex(log, rb"[0-8] of [0-9] images")
        self.assertIn(b"9 of 9 images", table)

    async def test_signals(self) -> None:
        """A signal ends it with the shell's code although a request is under way."""
        for name, code, said in (
            ("INT", 130, b"interrupted"),
            ("TERM", 143, b"terminated"),
        ):
            asked: Deferred[None] = Deferred()

            class Silent(Protocol):
                def dataReceived(self, _data: bytes) -> None:
                    if not asked.called:  # noqa: B023 - of this turn
                        asked.callback(None)  # noqa: B023 - likewise

            outcome, process = self.simulate(Factory.forProtocol(Silent))
            await asked
            process.signalProcess(name)
            self.assertEqual(await outcome.ended, code, outcome.out)
            self.assertIn(said, outcome.out)
            self.assertNotIn(b"Traceback", outcome.out)
            self.assertNotIn(b"level=error", outcome.out)
