"""Tests of ``asciid simulate`` against servers in memory."""

from __future__ import annotations

import io
import json
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner, Result
from treq.testing import RequestTraversalAgent
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseNeverReceived

from asciid import __version__
from asciid.cli import main
from asciid.cli._dependencies import Dependencies
from asciid.cli.simulate import simulate_command
from asciid.client.agent import parse_base_url
from asciid.simulate._art import Gallery
from asciid.simulate._log import Log
from asciid.simulate._plan import Plan, pieces
from asciid.simulate._requests import REQUEST_TIMEOUT, Requests
from asciid.simulate._simulation import CHUNKS_IN_FLIGHT, Simulation
from tests.client.fakes import FailingAgent, FakeReactor, StuckAgent
from tests.client.servers import Server

if TYPE_CHECKING:
    from twisted.web.iweb import IAgent


def asciid(*args: str, agent: IAgent | None = None) -> Result:
    """Run the command line in memory."""
    dependencies = Dependencies(FakeReactor(), agent or StuckAgent())

    class Main:
        """Adapts our main() to click's runner."""

        name = "asciid"

        def main(self, args: list[str], **_: object) -> None:
            main.main(args, dependencies)

    return CliRunner().invoke(Main(), args)  # type: ignore[arg-type] # see Main


class CommandTests(SynchronousTestCase):
    """The command as a whole, against servers of all kinds."""

    def simulate(self, server: Server, *args: str) -> Result:
        """Run a simulation of a few images against `server`."""
        agent = RequestTraversalAgent(server.app.resource())
        return asciid("simulate", "-files=4", "-seed", "1", *args, agent=agent)

    def assertFails(self, result: Result, *sayings: str) -> None:
        """Assert exit code 1, and an error line for each of these."""
        self.assertEqual(result.exit_code, 1, result.output)
        self.assertNotIn("SUCCESS", result.stdout)
        self.assertIn("level=fatal msg=FAILED!", result.stdout.replace('"', ""))
        errors = [line for line in result.stdout.splitlines() if "level=error" in line]
        for saying in sayings:
            self.assertTrue([line for line in errors if saying in line], result.stdout)
        self.assertNotIn("Traceback", result.output)

    def test_success(self) -> None:
        """With a right server every step is logged and the last line is SUCCESS!."""
        server = Server()
        result = self.simulate(server, "-chunksize", "100")
        self.assertEqual(result.exit_code, 0, result.output)
        lines = result.stdout.splitlines()
        self.assertTrue(lines[-1].endswith('level=info msg="SUCCESS!"'))
        self.assertEqual(len(server.images), 4)
        self.assertEqual([doc["chunk_size"] for doc in server.registered], [100] * 8)
        for step, count in [
            ("image registration: OK", 4),
            ("image duplicate registration: OK", 4),
            ("chunk upload: OK", len(server.order)),
            ("image download: OK", 4),
        ]:
            self.assertEqual(result.stdout.count(f'msg="{step}"'), count)

    def test_one_byte_chunks(self) -> None:
        """Chunks of one byte are uploaded out of order, and fit together."""
        server = Server()
        result = self.simulate(server, "-chunksize=1", "-files=1")
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertEqual(sorted(server.order), list(range(len(server.order))))
        self.assertNotEqual(sorted(server.order), server.order)

    def test_huge_chunks(self) -> None:
        """A chunk size above the image's makes one chunk an image."""
        server = Server()
        result = self.simulate(server, "-chunksize", "1000000")
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertEqual(server.order, [0] * 4)

    def test_seed(self) -> None:
        """The same seed sends the same images, and -1 others each time."""
        first, second, other, another = (Server() for _ in range(4))
        self.simulate(first)
        self.simulate(second)
        self.simulate(other, "-seed=-1")
        self.simulate(another, "-seed", "-1")
        self.assertEqual(first.registered, second.registered)
        self.assertNotEqual(first.registered, other.registered)
        self.assertNotEqual(other.registered, another.registered)

    def test_used_storage(self) -> None:
        """A server that has the seed's images makes the run fail, with advice."""
        server = Server()
        self.simulate(server)
        self.assertFails(self.simulate(server), "use another seed", "image_sha256=")

    def test_json(self) -> None:
        """With -log-format json every line is a JSON object."""
        result = self.simulate(Server(), "-log-format", "json")
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual(lines[-1]["msg"], "SUCCESS!")
        self.assertEqual(lines[0]["files"], 4)

    def test_log_level(self) -> None:
        """-log-level error logs nothing on success."""
        result = self.simulate(Server(), "--log-level=ERROR")
        self.assertEqual((result.exit_code, result.stdout), (0, ""))

    def test_log_level_debug(self) -> None:
        """-log-level debug logs each image's word and font."""
        result = self.simulate(Server(), "-log-level", "debug")
        self.assertIn('level=debug msg="image drawn" font=', result.stdout)

    def test_duplicate_accepted(self) -> None:
        """A second registration that is accepted is found."""
        server = Server()
        server.duplicate = 201
        self.assertFails(
            self.simulate(server),
            "image duplicate registration: expected status 409, got 201",
        )

    def test_token(self) -> None:
        """A token is sent with writes only."""
        path = self.mktemp()
        Path(path).write_text("a-token\n", encoding="ascii")
        for args, expected in (((), None), (("--token-file", path), "Bearer a-token")):
            server = Server()
            result = self.simulate(server, *args)
            self.assertEqual(result.exit_code, 0, result.output)
            self.assertEqual(server.authorizations, {"POST": expected, "GET": None})

    def test_wrong_bytes(self) -> None:
        """A download with wrong bytes is detected."""
        server = Server()
        server.tail = "!"
        self.assertFails(self.simulate(server), "downloaded bytes have the SHA-256")

    def test_wrong_type(self) -> None:
        """A download that is not text/plain is found."""
        server = Server()
        server.media_type = "text/html"
        self.assertFails(self.simulate(server), "expected text/plain, got text/html")

    def test_no_location(self) -> None:
        """A registration without a Location is found."""
        server = Server()
        server.location = False
        self.assertFails(self.simulate(server), "the response has no Location")

    def test_status_500(self) -> None:
        """An error status is reported with the detail of its problem document."""
        server = Server()
        server.chunk_status = 500
        result = self.simulate(server)
        self.assertFails(
            result, "chunk upload: expected status 201, got 500: Too bad.", "chunk_id="
        )
        self.assertIn("files=4 files_not_ok=4", result.stdout)

    def test_status_without_detail(self) -> None:
        """Error bodies that are not problem documents are omitted."""
        for body in (b"<html>", b"[]", b'{"detail": 1}', b"[" * 100_000):
            server = Server()
            server.chunk_status = 500
            server.problem = body
            self.assertFails(self.simulate(server), 'status 201, got 500"')

    def test_dropped_connections(self) -> None:
        """Connections dropped at any step are reported; other images continue."""
        for step in ("register", "chunk", "download"):
            server = Server()
            server.drop = step
            result = self.simulate(server)
            self.assertFails(result, "the connection was lost")
            self.assertEqual(result.stdout.count("the connection was lost"), 4)

    def test_refused(self) -> None:
        """A server that cannot be reached is one error line, not one an image."""
        for reason in (error.ConnectionRefusedError(), error.DNSLookupError()):
            result = asciid("simulate", agent=FailingAgent(reason))
            self.assertFails(result, "cannot connect to http://localhost:4444")
            self.assertEqual(result.stdout.count("level=error"), 1)

    def test_interrupt(self) -> None:
        """An interrupt ends with exit code 130 and blames no image."""
        result = asciid("simulate", agent=StuckAgent())
        self.assertEqual(result.exit_code, 130)
        self.assertIn("level=warning msg=interrupted", result.stdout)
        self.assertNotIn("level=error", result.stdout)

    def test_address(self) -> None:
        """-host and -port set the address, also an IPv6 one."""
        for host, authority in [
            ("example.org", "example.org"),
            ("::1", "[::1]"),
            ("[::1]", "[::1]"),
            ("127.0.0.1", "127.0.0.1"),
        ]:
            agent = StuckAgent()
            asciid("simulate", "-host", host, "--port", "81", agent=agent)
            self.assertEqual(agent.uris[0], f"http://{authority}:81/image".encode())

    def test_no_pyfiglet(self) -> None:
        """Without pyfiglet one line says what to install, and the exit code is 1."""
        self.patch(sys, "modules", {**sys.modules, "pyfiglet": None})
        result = asciid("simulate")
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(
            result.stderr,
            "asciid: simulate needs pyfiglet: pip install 'asciid[simulate]'\n",
        )


class UsageTests(SynchronousTestCase):
    """Output for wrong and right command lines."""

    def test_wrong_options(self) -> None:
        """A wrong option is one line on standard error and exit code 2."""
        for args, saying in [
            (["simulate", "-nonsense"], "--nonsense"),
            (["simulate", "-files", "0"], "'--files'"),
            (["simulate", "-files", "many"], "'--files'"),
            (["simulate", "-chunksize=-1"], "'--chunksize'"),
            (["simulate", "-port", "65536"], "'--port'"),
            (["simulate", "-host", "a b"], "'--host'"),
            (["simulate", "-host", ""], "'--host'"),
            (["simulate", "-host", "a/b"], "'--host'"),
            (["simulate", "-host", "ex:ample"], "'--host'"),
            (["simulate", "-log-level", "loud"], "'--log-level'"),
            (["simulate", "-log-format", "xml"], "'--log-format'"),
            (["simulate", "-seed", "-2"], "'--seed'"),
            (["simulate", "extra"], "extra"),
            (["nonsense"], "nonsense"),
            ([], "Missing command"),
        ]:
            result = asciid(*args)
            self.assertEqual(result.exit_code, 2, args)
            self.assertEqual(result.stdout, "")
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
            self.assertIn(saying, result.stderr)

    def test_help(self) -> None:
        """--help, also with one dash, prints the options and succeeds."""
        for flag in ("-help", "--help"):
            result = asciid("simulate", flag)
            self.assertEqual(result.exit_code, 0)
            self.assertIn("--chunksize", result.stdout)
        self.assertIn("simulate", asciid("--help").stdout)

    def test_version(self) -> None:
        """--version prints the version."""
        self.assertEqual(asciid("--version").stdout, f"asciid, version {__version__}\n")

    def test_abort(self) -> None:
        """An interrupt before the reactor runs is exit code 130 as well."""

        def interrupted() -> None:
            raise KeyboardInterrupt

        self.patch(simulate_command, "callback", interrupted)
        self.patch(simulate_command, "params", [])
        self.assertEqual(asciid("simulate").exit_code, 130)


class BoundTests(SynchronousTestCase):
    """Concurrency and timeouts of a simulation."""

    def start(self, plan: Plan, agent: IAgent) -> tuple[Deferred[bool], Any]:
        """Start a simulation with a clock of its own."""
        self.out = io.StringIO()
        reactor: Any = MemoryReactorClock()
        rng = random.Random(1)
        simulation = Simulation(
            plan,
            pieces(plan, Gallery(rng), rng, None),
            requests=Requests(reactor, agent, parse_base_url("http://localhost:4444")),
            log=Log(self.out),
            clock=reactor,
        )
        return Deferred.fromCoroutine(simulation.run()), reactor

    def test_parallel(self) -> None:
        """No more images than allowed are on their way at once."""
        agent = StuckAgent()
        for files, parallel, expected in [(9, 3, 3), (2, 3, 2)]:
            before = len(agent.requests)
            self.start(Plan(files, 256, parallel), agent)
            self.assertEqual(len(agent.requests) - before, expected)

    def test_chunks(self) -> None:
        """No more than `CHUNKS_IN_FLIGHT` chunks of an image are on their way."""
        stuck = StuckAgent()
        server = RequestTraversalAgent(Server().app.resource())

        class Agent(StuckAgent):
            def request(
                self, method: bytes, uri: bytes, *rest: object
            ) -> Deferred[Any]:
                agent: Any = stuck if uri.endswith(b"/chunks") else server
                result: Deferred[Any] = agent.request(method, uri, *rest)
                return result

        run, _ = self.start(Plan(1, 1, 1), Agent())
        self.assertEqual(len(stuck.requests), CHUNKS_IN_FLIGHT)
        stuck.requests[0].errback(Failure(ResponseNeverReceived([])))
        self.assertFalse(self.successResultOf(run))
        self.assertEqual(stuck.cancelled, CHUNKS_IN_FLIGHT - 1)
        self.assertEqual(self.out.getvalue().count("level=error"), 1)

    def test_timeout(self) -> None:
        """A server that does not answer in time ends the run, all of it."""
        agent = StuckAgent()
        run, reactor = self.start(Plan(9, 256, 3), agent)
        reactor.advance(REQUEST_TIMEOUT - 1)
        self.assertNoResult(run)
        reactor.advance(1)
        self.assertFalse(self.successResultOf(run))
        self.assertEqual((len(agent.requests), agent.cancelled), (3, 3))
        self.assertEqual(self.out.getvalue().count("level=error"), 1)
        self.assertIn("did not respond within 30 s", self.out.getvalue())
        self.assertEqual(reactor.getDelayedCalls(), [])

    def test_no_timers_left(self) -> None:
        """A run leaves no timer behind."""
        agent = RequestTraversalAgent(Server().app.resource())
        run, reactor = self.start(Plan(3, 256, 2), agent)
        self.assertTrue(self.successResultOf(run))
        self.assertEqual(reactor.getDelayedCalls(), [])
