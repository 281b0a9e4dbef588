"""The options of ``twistd asciid`` and its service."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import re
import socket
import time
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from twisted.application.service import IServiceMaker
from twisted.internet.address import IPv4Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.plugin import getPlugins
from twisted.python.failure import Failure
from twisted.scripts.twistd import (  # type: ignore[attr-defined] # chosen by platform
    ServerOptions,
)
from twisted.trial.unittest import SynchronousTestCase

from asciid import __version__
from asciid.config import tokens
from asciid.config.settings import SETTINGS
from asciid.daemon import assembly, host
from asciid.engines.lmdb import owning
from asciid.engines.lmdb.owning import ALONE
from asciid.runtime.tuning import tune_garbage_collector, use_monotonic_clock
from asciid.store import ImageStore, Lifetimes, PendingLimits
from asciid.tap import Options, makeService
from asciid.testing import MemoryStore
from asciid.workers.parent import Parent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred

    from asciid.daemon.host import Host


class TCPTransport(StringTransport):
    """A transport in memory with the interface of TCP."""

    def setTcpNoDelay(self, _: bool) -> None:  # noqa: FBT001 - Twisted's signature
        """Do nothing: nothing is delayed."""


def parsed(arguments: Sequence[str] = (), **environ: str) -> Options:
    """Return options parsed from `arguments` in that environment alone."""
    options = Options(environ)
    options.parseOptions(arguments)
    return options


class OptionsTests(SynchronousTestCase):
    """The command line."""

    def assert_ends(self, line: str, arguments: Sequence[str], **environ: str) -> None:
        """Check that parsing ends with that line on stderr and exit code 1."""
        end = self.assertRaises(SystemExit, parsed, arguments, **environ)
        # Python prints a text as the code to stderr, and exits with 1.
        self.assertEqual(end.code, line)

    def test_defaults(self) -> None:
        """With no option, the defaults are in force."""
        settings = parsed().settings
        self.assertEqual(settings.port, "4444")
        self.assertTrue(settings.sync)

    def test_every_option(self) -> None:
        """Each option reaches its setting."""
        settings = parsed(
            [
                "--port=1",
                "--storage=/images",
                "--max-image-size=2K",
                "--max-chunk-size=3",
                "--no-sync",
                "--upload-ttl=2m",
                "--image-ttl=3h",
                "--reserve=0",
            ]
        ).settings
        self.assertEqual(settings.port, "1")
        self.assertEqual(settings.storage, Path("/images"))
        self.assertEqual(settings.max_image_size, 2048)
        self.assertEqual(settings.max_chunk_size, 3)
        self.assertEqual(settings.upload_ttl, 120)
        self.assertEqual(settings.image_ttl, 10_800)
        self.assertEqual(settings.reserve, 0)
        self.assertFalse(settings.sync)

    def test_environment(self) -> None:
        """The environment is read, and the option wins."""
        settings = parsed(["--port=2"], ASCIID_PORT="1", ASCIID_NO_SYNC="yes").settings
        self.assertEqual(settings.port, "2")
        self.assertFalse(settings.sync)

    def test_own_environment(self) -> None:
        """As twistd makes the options, they read the process's environment."""
        with patch.dict(os.environ, {"ASCIID_PORT": "4321"}):
            options = Options()
            options.parseOptions([])
        self.assertEqual(options.settings.port, "4321")

    def test_mistakes(self) -> None:
        """A mistake ends the start with one line that names it."""
        self.assert_ends(
            "asciid: --max-chunk-size: 'huge' is not a number of bytes "
            "such as 65536, 64K or 1M",
            ["--max-chunk-size", "huge"],
        )
        self.assert_ends(
            "asciid: ASCIID_NO_SYNC: 'perhaps' is neither yes nor no",
            [],
            ASCIID_NO_SYNC="perhaps",
        )
        self.assert_ends("asciid: option --sync not recognized", ["--sync"])
        self.assert_ends("asciid: option --port requires argument", ["--port"])
        self.assert_ends("asciid: Wrong number of arguments.", ["4444"])

    def test_database(self) -> None:
        """A mistake in the address of a database exits with 2, and hides passwords."""
        for arguments, environ in [
            (["--storage", "postgresql://u:hunter2@h/art"], {}),
            (["--storage=postgres://h/art?password=hunter2"], {}),
            ([], {"ASCIID_STORAGE": "postgresql://u:hunter2@h:art"}),
        ]:
            with redirect_stderr(io.StringIO()) as output:
                end = self.assertRaises(SystemExit, parsed, arguments, **environ)
            self.assertEqual(end.code, 2)
            self.assertRegex(output.getvalue(), r"\Aasciid: .*STORAGE.*\n\Z")
            self.assertNotIn("hunter2", output.getvalue())

    def test_ineffective(self) -> None:
        """A setting that has no effect on a database is logged, and works."""
        options = parsed(["--storage=postgresql://h/art", "--reserve=1G"])
        with capturedLogs() as logs:
            makeService(options, reactor=MemoryReactorClock())
        lines = [formatEvent(event) for event in logs]
        self.assertEqual(lines, ["--reserve has no effect: the room is the database's"])

    def test_version(self) -> None:
        """--version prints asciid's version, not Twisted's."""
        with redirect_stdout(io.StringIO()) as output:
            end = self.assertRaises(SystemExit, parsed, ["--version"])
        self.assertEqual(end.code, 0)
        self.assertEqual(output.getvalue(), f"asciid {__version__}\n")

    def test_help(self) -> None:
        """--help names each option once, its variable and its default, in groups."""
        with redirect_stdout(io.StringIO()) as output:
            end = self.assertRaises(
                SystemExit, ServerOptions().parseOptions, ["asciid", "--help"]
            )
        self.assertEqual(end.code, 0)
        text = re.sub(r"\s+", " ", output.getvalue())
        self.assertIn("Usage: twistd [options] asciid [asciid options] Host", text)
        listed = re.findall(r"^  --([a-z-]+)", output.getvalue(), re.MULTILINE)
        self.assertEqual(
            sorted(listed),
            sorted([*(setting.option for setting in SETTINGS), "help", "version"]),
        )
        for setting in SETTINGS:
            self.assertIn(f"[{setting.variable}; default {setting.default}]", text)
        headings = re.findall(r"^([A-Z][a-z ]+):$", output.getvalue(), re.MULTILINE)
        self.assertEqual(
            headings, ["Serving", "Storage", "Load", "Logs and metrics", "Other"]
        )
        # Each within the width of a terminal.
        narrow = Options({}).getUsage(60)
        self.assertLessEqual(max(map(len, narrow.splitlines())), 60)


class ThreadedReactor(MemoryReactorClock):
    """A reactor that threads can call."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def callFromThread(
        self, call: Callable[..., object], *args: object, **kwargs: object
    ) -> None:
        """Schedule `call` for the next iteration."""
        self._calls.put(partial(call, *args, **kwargs))

    def turn(self) -> None:
        """Run due calls, and calls from threads within a moment."""
        self.advance(0)
        with contextlib.suppress(Empty):
            self._calls.get(timeout=0.05)()

    def wait_for(self, awaited: Deferred[Any]) -> None:
        """Turn until `awaited` has a result, and raise it if it is a failure."""
        outcome: list[Any] = []
        awaited.addBoth(outcome.append)
        while not outcome:
            self.turn()
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()


class MakeServiceTests(SynchronousTestCase):
    """From options to a service."""

    def test_nothing_is_opened(self) -> None:
        """Making the service neither listens nor touches the disk."""
        storage = Path(self.mktemp())
        reactor = MemoryReactorClock()
        makeService(parsed([f"--storage={storage}"]), reactor=reactor)
        self.assertEqual(reactor.adoptedPorts, [])
        self.assertFalse(storage.exists())

    def test_serves(self) -> None:
        """Once started, the API responds on the configured port."""
        reactor = ThreadedReactor()
        options = parsed(
            [
                "--port=tcp:0:interface=127.0.0.1",
                "--storage=:memory:",
                "--write-origins=https://art.example",
            ]
        )
        service = makeService(options, reactor=reactor)
        service.privilegedStartService()
        service.startService()
        _, family, factory = reactor.adoptedPorts[0]
        self.assertEqual(family, socket.AF_INET)

        transport = TCPTransport()
        protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1024))
        assert protocol is not None
        protocol.makeConnection(transport)
        protocol.dataReceived(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head, _, body = transport.value().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 404 "), head)
        self.assertIn(b"application/problem+json", head)
        self.assertIn(b'"code":"404 Not Found"', body.replace(b": ", b":"))
        transport.clear()
        origin = b"Origin: https://art.example\r\n"
        protocol.dataReceived(b"PUT / HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % origin)
        allowed = b"\r\nAccess-Control-Allow-Origin: https://art.example\r\n"
        self.assertIn(allowed, transport.value())
        protocol.connectionLost(Failure(ConnectionDone()))
        reactor.wait_for(service.stopService())

    def test_metrics_port(self) -> None:
        """If configured, the metrics are on their own port, and only there."""
        reactor = ThreadedReactor()
        options = parsed(["--port=tcp:0", "--storage=:memory:", "--metrics-port=tcp:0"])
        service = makeService(options, reactor=reactor)
        service.startService()
        factories = [factory for _, _, factory in reactor.adoptedPorts]
        servers = dict(zip(("port", "metrics"), factories, strict=True))
        statuses = {
            (port, path): self.status_of(reactor, servers[port], path)
            for port in servers
            for path in ("/metrics", "/openapi.json")
        }
        self.assertEqual(
            statuses,
            {
                ("port", "/metrics"): 404,
                ("port", "/openapi.json"): 200,
                ("metrics", "/metrics"): 200,
                ("metrics", "/openapi.json"): 404,
            },
        )
        reactor.wait_for(service.stopService())

    def status_of(self, reactor: ThreadedReactor, factory: Any, path: str) -> int:  # noqa: ANN401 - any factory
        """Return the status of a GET."""
        transport = TCPTransport()
        protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1024))
        protocol.makeConnection(transport)
        protocol.dataReceived(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        while not transport.value():
            reactor.turn()
        protocol.connectionLost(Failure(ConnectionDone()))
        return int(transport.value().split()[1])

    def test_disk(self) -> None:
        """A storage directory is opened by the settings."""
        made = []

        class Engine:
            def __init__(self, path: Path, **options: object) -> None:
                made.append((path, options))

        class Store(ImageStore):
            def __init__(
                self, _: object, *, lifetimes: Lifetimes, **__: object
            ) -> None:
                memory = MemoryStore()
                super().__init__(memory._engine, reactor=reactor)
                kept.append(lifetimes)

        kept: list[Lifetimes] = []
        reactor = MemoryReactorClock()
        self.patch(owning, "LMDBEngine", Engine)
        self.patch(assembly, "ImageStore", Store)
        makeService(parsed(["--storage=/images"]), reactor=reactor)
        options = ["--no-sync", "--upload-ttl=5", "--image-ttl=6", "--reserve=7"]
        options += ["--max-uploads=8", "--max-client-uploads=9", "--max-queue=10"]
        options.append("--listing=opt-in")
        makeService(parsed(["--storage=/images", *options]), reactor=reactor)
        default = {
            "reactor": reactor,
            "sync": True,
            "reserve": 64 * 2**20,
            "pending": PendingLimits(total=100_000, per_client=10_000),
            "max_queue": 64 * 2**20,
            "peers": ALONE,
            "lock": None,
            "converts_listed": True,
        }
        chosen = {
            "reactor": reactor,
            "sync": False,
            "reserve": 7,
            "pending": PendingLimits(total=8, per_client=9),
            "max_queue": 10,
            "peers": ALONE,
            "lock": None,
            "converts_listed": False,
        }
        path = Path("/images")
        self.assertEqual(made, [(path, default), (path, chosen)])
        lifetimes = [Lifetimes(upload=24 * 60 * 60), Lifetimes(upload=5, image=6)]
        self.assertEqual(kept, lifetimes)

    def test_own_reactor(self) -> None:
        """As twistd makes the service, it runs on the process's reactor."""
        made = []

        class Service:
            def __init__(self, _: object, used: Host, **__: object) -> None:
                made.append(used.reactor)

            def reload(self) -> None:
                """Do nothing."""

        from twisted.internet import reactor  # noqa: PLC0415 - tested here

        self.patch(assembly, "ImageService", Service)
        self.patch(host, "install_sighup_handler", lambda *_: None)
        restyled: list[object] = []
        self.patch(host, "restyle_twistd", lambda *given: restyled.append(given))
        self.patch(host, "install_running_handlers", lambda _: None)
        options = parsed(["--storage=:memory:"])
        makeService(options)
        self.assertEqual(made, [reactor])
        self.assertEqual(restyled, [(options.settings, reactor)])

    def test_clock_set_back(self) -> None:
        """Calls that are due run at once after the wall clock was set back."""
        reactor = SelectReactor()
        self.addCleanup(reactor.removeAll)
        use_monotonic_clock(reactor)
        self.assertIs(reactor.seconds, time.monotonic)

    def test_timers_under_way(self) -> None:
        """Timers started by the wall clock keep using it."""
        reactor = MemoryReactorClock()
        reactor.callLater(1, list)
        use_monotonic_clock(reactor)
        reactor.advance(2)
        self.assertEqual((reactor.seconds(), reactor.getDelayedCalls()), (2, []))


class TokenTests(SynchronousTestCase):
    """The tokens that writes need."""

    def test_service(self) -> None:
        """They are read at the start, and required from then on."""
        path = Path(self.mktemp())
        reactor = ThreadedReactor()
        options = [f"--write-token-file={path}", "--port=tcp:0", "--storage=:memory:"]
        service = makeService(parsed(options), reactor=reactor)
        path.write_text("good\n")
        service.startService()
        statuses = [
            self.status_of(reactor, line)
            for line in ("X-None: none", "Authorization: Bearer good")
        ]
        self.assertEqual(statuses, [401, 404])
        reactor.wait_for(service.stopService())

    def status_of(self, reactor: ThreadedReactor, line: str) -> int:
        """Return the status of a DELETE."""
        transport = TCPTransport()
        address = IPv4Address("TCP", "127.0.0.1", 1024)
        protocol = reactor.adoptedPorts[0][2].buildProtocol(address)
        assert protocol is not None
        protocol.makeConnection(transport)
        path = f"/image/{'0' * 64}"
        request = f"DELETE {path} HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n"
        protocol.dataReceived(request.encode())
        while not transport.value():
            reactor.turn()
        protocol.connectionLost(Failure(ConnectionDone()))
        return int(transport.value().split()[1])

    def test_workers(self) -> None:
        """With several processes, the parent replaces all of them."""
        installed: list[Any] = []
        self.patch(
            host, "install_sighup_handler", lambda _, reread: installed.append(reread)
        )
        self.patch(host, "restyle_twistd", lambda *_: None)
        self.patch(host, "install_running_handlers", lambda _: None)
        self.patch(os, "environ", {"HOME": "/", "ASCIID_RESERVE": "1"})
        storage = f"--storage={self.mktemp()}"
        service = makeService(parsed(["--workers=2", "--reserve=2", storage]))
        assert isinstance(service, Parent)
        (reload,) = installed
        self.assertEqual(reload.args, (service.restart,))
        environment = service._environment
        self.assertEqual(environment["HOME"], "/")
        self.assertEqual(environment["ASCIID_RESERVE"], "2")
        self.assertEqual(environment["ASCIID_WORKERS"], "2")

    def test_sighup_handler(self) -> None:
        """Every daemon handles SIGHUP, but not a service in tests."""
        installed: list[Any] = []
        self.patch(
            host, "install_sighup_handler", lambda _, reread: installed.append(reread)
        )
        self.patch(host, "restyle_twistd", lambda *_: None)
        self.patch(host, "install_running_handlers", lambda _: None)
        plain = ["--storage=:memory:"]
        path = Path(self.mktemp())
        options = [*plain, f"--write-token-file={path}"]
        makeService(parsed(options), reactor=MemoryReactorClock())
        self.assertEqual(installed, [])
        makeService(parsed(plain))
        makeService(parsed(options))
        path.touch(0o600)
        path.write_text("good\n")
        self.patch(tokens, "call_in_pool", lambda _, __, call: maybeDeferred(call))
        with capturedLogs() as events:
            for reread in installed:
                reread()
        (event,) = events
        self.assertIn("loaded 1 write tokens", str(formatEvent(event)))


class PluginTests(SynchronousTestCase):
    """The twistd plugin."""

    def test_one_plugin(self) -> None:
        """There is one plugin named asciid, with these options and this service."""
        (plugin,) = [
            plugin for plugin in getPlugins(IServiceMaker) if plugin.tapname == "asciid"
        ]
        self.assertIs(plugin.options, Options)
        self.assertIs(plugin.makeService, makeService)


class CollectorTests(SynchronousTestCase):
    """The garbage collector of a daemon."""

    def test_rests(self) -> None:
        """Objects of the start are frozen, and other collections are rarer."""
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.unfreeze)
        tune_garbage_collector()
        self.assertGreater(gc.get_freeze_count(), 0)
        self.assertGreater(gc.get_threshold()[0], 700)
