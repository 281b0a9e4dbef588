"""The service's start and stop, on a fake reactor."""

from __future__ import annotations

import errno
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from asciid import __version__
from asciid.config.settings import DatabaseURL, Settings
from asciid.config.tokens import TokenFile
from asciid.daemon import announcement
from asciid.daemon._service import LAST_WRITES, ImageService, Site
from asciid.daemon.host import Host
from asciid.daemon.housekeeping import Housekeeper
from asciid.errors import (
    DatabaseUnavailableError,
    StorageFailedError,
    StoreClosedError,
    StoreVersionError,
)
from asciid.metrics import Metrics, RequestCounts
from asciid.net.listener import Listener, StartError
from asciid.runtime.client_scheduler import ClientScheduler
from asciid.runtime.offload import Offload
from asciid.store import StoreUsage
from asciid.testing import ManualThreadPool, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IAddress, IProtocolFactory


@implementer(IListeningPort)
@define
class FakePort:
    """A listening port that records its calls."""

    events: list[str]
    address: IAddress
    stopped: Deferred[None] | None = None
    name: str = ""

    def startListening(self) -> None:
        """Unused: the endpoint has done it."""

    def stopListening(self) -> Deferred[None] | None:
        """Record the stop."""
        self.events.append(f"unbind {self.name}".strip())
        return self.stopped

    def getHost(self) -> IAddress:
        """Return the address the test chose."""
        return self.address


@implementer(IStreamServerEndpoint)
@define
class FakeEndpoint:
    """An endpoint that returns the test's result."""

    events: list[str]
    answer: Callable[[], Deferred[Any]]
    name: str = ""

    def listen(self, _: IProtocolFactory) -> Deferred[Any]:
        """Record the call and return the test's result."""
        self.events.append(f"bind {self.name}".strip())
        return self.answer()


class FakeStore(MemoryStore):
    """A store that records its calls and returns the test's results."""

    def __init__(self, events: list[str]) -> None:
        super().__init__()
        self.events = events
        self.started: Deferred[None] = succeed(None)
        self.stopped: Deferred[None] = succeed(None)
        self.measured = succeed(StoreUsage(images=7, pending=2))

    def start(self) -> Deferred[None]:
        """Record the call and return the test's result."""
        self.events.append("open")
        return self.started

    def stop(self) -> Deferred[None]:
        """Record the call and return the test's result."""
        self.events.append("close")
        return self.stopped

    def usage(self) -> Deferred[StoreUsage]:
        """Return the test's result."""
        return self.measured


class RecordedHost(Host):
    """A process that can exit, and records its calls."""

    can_exit = True

    def __init__(self, reactor: MemoryReactorClock, events: list[str]) -> None:
        super().__init__(reactor)
        self._events = events

    def fail(self) -> None:
        """Record the call."""
        self._events.append("fail")

    def exit_now(self) -> None:
        """Record the call."""
        self._events.append("exit")


class ServiceTestCase(SynchronousTestCase):
    """A service whose collaborators record its calls."""

    def setUp(self) -> None:
        """Make collaborators that succeed at once."""
        self.events: list[str] = []
        self.port = FakePort(self.events, IPv4Address("TCP", "127.0.0.1", 4444))
        self.endpoint = FakeEndpoint(self.events, lambda: succeed(self.port))
        self.store = FakeStore(self.events)
        self.reactor = MemoryReactorClock()
        self.threads = ManualThreadPool()
        self.drained: Deferred[None] = succeed(None)
        self.retired: Deferred[None] = succeed(None)
        self.metrics: list[Listener] = []
        self.tokens: TokenFile | None = None

    def service(
        self,
        storage: Path | DatabaseURL | None = Path("/images"),
        *,
        sync: bool = True,
        announces: bool = True,
    ) -> ImageService:
        """Return the service under test."""
        workers = 1 if announces else 2
        listeners = [Listener("tcp:4444", self.endpoint), *self.metrics]
        return ImageService(
            Settings("tcp:4444", storage, 1, 1, sync=sync, workers=workers),
            RecordedHost(self.reactor, self.events),
            sites=[Site(listener, Factory()) for listener in listeners],
            server=self,
            metrics=Metrics(self.store, RequestCounts()),
            tokens=self.tokens,
            store=self.store,
            offload=Offload(
                self.reactor, self.threads, scheduler=ClientScheduler(self.reactor)
            ),
            housekeeper=Housekeeper(self.store, clock=self.reactor, interval=60),
        )

    def retire(self) -> Deferred[None]:
        """Record the call and return the test's result."""
        self.events.append("retire")
        return self.retired

    def drain(self) -> Deferred[None]:
        """Record the call and return the test's result."""
        self.events.append("drain")
        return self.drained


class StartTests(ServiceTestCase):
    """The steps of starting, in order."""

    def test_two_steps(self) -> None:
        """The privileged step binds; the store is opened only in the next."""
        service = self.service()
        service.privilegedStartService()
        self.assertEqual(self.events, ["bind"])
        service.startService()
        self.assertEqual(self.events, ["bind", "open"])
        self.assertTrue(service.running)

    def test_one_step(self) -> None:
        """Without a privileged step, starting binds as well, and first."""
        self.service().startService()
        self.assertEqual(self.events, ["bind", "open"])

    def test_slow_endpoint(self) -> None:
        """The store is opened only once a slow endpoint is bound."""
        bound: Deferred[FakePort] = Deferred()
        self.endpoint.answer = lambda: bound
        self.service().startService()
        self.assertEqual(self.events, ["bind"])
        bound.callback(self.port)
        self.assertEqual(self.events, ["bind", "open"])


class MetricsPortTests(ServiceTestCase):
    """Metrics on a port of their own."""

    def setUp(self) -> None:
        """Have such a port."""
        super().setUp()
        self.metrics_port = FakePort(
            self.events, IPv4Address("TCP", "127.0.0.1", 9090), name="metrics"
        )
        self.metrics_endpoint = FakeEndpoint(
            self.events, lambda: succeed(self.metrics_port), name="metrics"
        )
        self.metrics = [Listener("tcp:9090", self.metrics_endpoint)]

    def test_order(self) -> None:
        """Both ports are bound before the store is opened, and freed before drain."""
        service = self.service()
        with capturedLogs() as logs:
            service.startService()
        self.assertEqual(self.events, ["bind", "bind metrics", "open"])
        self.assertEqual(formatEvent(logs[-1]), "metrics listening on 127.0.0.1:9090")
        del self.events[:]
        self.successResultOf(service.stopService())
        self.assertEqual(self.events, ["unbind", "unbind metrics", "drain", "close"])

    def test_cannot_bind(self) -> None:
        """If the second port is taken the first is freed, and the start has failed."""
        error = CannotListenError("", 9090, OSError(98, "Address already in use"))
        self.metrics_endpoint.answer = lambda: fail(error)
        self.patch(sys, "__stderr__", io.StringIO())
        refused = self.assertRaises(StartError, self.service().startService)
        self.assertIn("cannot listen on tcp:9090", str(refused))
        self.assertEqual(self.events, ["bind", "bind metrics", "unbind"])


class FailureTests(ServiceTestCase):
    """Failures to start."""

    def setUp(self) -> None:
        """Capture standard error."""
        super().setUp()
        self.stderr = io.StringIO()
        self.patch(sys, "__stderr__", self.stderr)

    def assert_refused(self, start: Callable[[], None], line: str) -> None:
        """`start` raises a start error; the line is logged and on stderr."""
        with capturedLogs() as logs:
            error = self.assertRaises(StartError, start)
        self.assertEqual(error.code, 1)
        self.assertEqual(str(error), line)
        self.assertEqual(self.stderr.getvalue(), f"{line}\n")
        self.assertEqual(
            [(event["log_level"], formatEvent(event)) for event in logs],
            [(LogLevel.critical, line)],
        )

    def test_cannot_bind(self) -> None:
        """A port in use ends the start before the store is touched."""
        error = CannotListenError("", 4444, OSError(98, "Address already in use"))
        self.endpoint.answer = lambda: fail(error)
        self.assert_refused(
            self.service().startService,
            "asciid: cannot listen on tcp:4444: Address already in use",
        )
        self.assertEqual(self.events, ["bind"])

    def test_endpoint_raises(self) -> None:
        """An endpoint that raises, at that without a word, is the same."""

        def answer() -> Deferred[Any]:
            raise OverflowError

        self.endpoint.answer = answer
        self.assert_refused(
            self.service().privilegedStartService,
            "asciid: cannot listen on tcp:4444: OverflowError",
        )

    def test_cannot_open_directory(self) -> None:
        """A directory that cannot be used ends the start and frees the port."""
        self.store.started = fail(PermissionError(13, "Permission denied", "/images"))
        self.assert_refused(
            self.service().startService,
            "asciid: cannot use the storage /images: Permission denied",
        )
        self.assertEqual(self.events, ["bind", "open", "unbind"])

    def test_no_threads(self) -> None:
        """If threads cannot be created, the storage is not opened."""

        def start() -> None:
            message = "cannot create the threads of asciid-offload"
            raise OSError(errno.EAGAIN, message)

        self.threads.start = start  # type: ignore[method-assign]
        self.assert_refused(
            self.service().startService,
            "asciid: cannot create threads: "
            "cannot create the threads of asciid-offload",
        )
        self.assertEqual(self.events, ["bind", "unbind"])

    def test_unknown_version(self) -> None:
        """A storage of another format is refused, on one line."""
        self.store.started = fail(StoreVersionError("format 9:\nupgrade"))
        self.assert_refused(
            self.service().startService,
            "asciid: cannot use the storage /images: format 9: upgrade",
        )

    def test_unusable_tokens(self) -> None:
        """A token file that cannot be used ends the start before the store opens."""
        path = Path(self.mktemp())
        path.write_text("good\nno good\n")
        self.tokens = TokenFile(path)
        self.assert_refused(
            self.service().startService,
            f"asciid: cannot use the write tokens in {path}: line 2: malformed token "
            "(RFC 6750, section 2.1)",
        )
        self.assertEqual(self.events, ["bind", "unbind"])

    def test_start_error_is_told_both_ways(self) -> None:
        """
        A start error ends a process in the foreground without a traceback, and
        is an ordinary exception to the twistd that forks.
        """
        self.assertTrue(issubclass(StartError, SystemExit))
        self.assertTrue(issubclass(StartError, Exception))

    def test_bug_in_store(self) -> None:
        """An unexpected error is raised unchanged."""
        self.store.started = fail(ZeroDivisionError())
        self.assertRaises(ZeroDivisionError, self.service().startService)
        self.assertIn("unbind", self.events)

    def test_late_failure(self) -> None:
        """A failure after the start is logged, and is reported to the owner."""
        self.store.measured = Deferred()
        self.service().startService()
        with capturedLogs() as logs:
            self.store.measured.errback(StorageFailedError())
        self.assertEqual(self.events[-1], "fail")
        self.assertEqual(logs[0]["log_level"], LogLevel.critical)
        self.assertEqual(len(self.flushLoggedErrors(StorageFailedError)), 1)

    def test_late_refusal(self) -> None:
        """A storage that is refused after a while ends the start with one line, too."""
        self.store.started = Deferred()
        self.service().startService()
        with capturedLogs() as logs:
            self.store.started.errback(StoreVersionError("run asciid migrate"))
        line = "asciid: cannot use the storage /images: run asciid migrate"
        self.assertEqual(
            [(event["log_level"], formatEvent(event)) for event in logs],
            [(LogLevel.critical, line)],
        )
        self.assertEqual(self.stderr.getvalue(), f"{line}\n")
        self.assertEqual(self.events[-1], "fail")

    def test_failed_start_can_be_repeated(self) -> None:
        """Once the cause is removed, the same service starts."""
        service = self.service()
        self.store.started = fail(PermissionError())
        self.assertRaises(StartError, service.startService)
        self.store.started = succeed(None)
        service.startService()
        self.assertEqual(self.events, ["bind", "open", "unbind", "bind", "open"])


class WorkerTests(ServiceTestCase):
    """The service of one of several processes."""

    def test_quiet(self) -> None:
        """It logs neither its start nor why it cannot start: the parent does."""
        stderr = io.StringIO()
        self.patch(sys, "__stderr__", stderr)
        with capturedLogs() as events:
            self.service(announces=False).startService()
            self.store.started = fail(StorageFailedError())
            refused = self.service(announces=False)
            self.assertRaises(StartError, refused.startService)
        self.assertEqual((events, stderr.getvalue()), ([], ""))

    def test_retire(self) -> None:
        """It accepts no more connections, and is done once the others are closed."""
        self.retired = Deferred()
        service = self.service(announces=False)
        service.startService()
        del self.events[:]
        retired = service.retire()
        self.assertEqual(self.events, ["unbind", "retire"])
        self.assertNoResult(retired)
        self.retired.callback(None)
        self.successResultOf(retired)
        self.successResultOf(service.stopService())
        self.assertEqual(self.events[2:], ["drain", "close"])

    def test_retire_is_bounded(self) -> None:
        """It does not wait for ever for a connection to close."""
        self.retired = Deferred()
        service = self.service(announces=False)
        service.startService()
        retired = service.retire()
        self.reactor.advance(9)
        self.assertNoResult(retired)
        self.reactor.advance(1)
        self.successResultOf(retired)


class StopTests(ServiceTestCase):
    """The steps of stopping, in order."""

    def test_order(self) -> None:
        """It closes the ports, then drains requests, then closes the store."""
        self.port.stopped = Deferred()
        self.drained = Deferred()
        self.store.stopped = Deferred()
        service = self.service()
        service.startService()
        del self.events[:]

        stopped = service.stopService()
        self.assertEqual(self.events, ["unbind"])
        self.port.stopped.callback(None)
        self.assertEqual(self.events, ["unbind", "drain"])
        self.drained.callback(None)
        self.assertEqual(self.events, ["unbind", "drain", "close"])
        self.assertNoResult(stopped)
        self.store.stopped.callback(None)
        self.successResultOf(stopped)
        self.assertFalse(service.running)

    def test_port_that_closes_at_once(self) -> None:
        """`stopListening` of a port may return no Deferred."""
        service = self.service()
        service.startService()
        self.successResultOf(service.stopService())
        self.assertEqual(self.events[-3:], ["unbind", "drain", "close"])

    def test_while_the_store_opens(self) -> None:
        """A store that is long in opening is stopped, and serves nothing."""
        self.store.started = Deferred()
        self.store.stopped = Deferred()
        service = self.service()
        service.startService()
        stopped = service.stopService()
        self.assertEqual(self.events[-2:], ["unbind", "close"])
        with capturedLogs() as logs:
            self.store.started.errback(StoreClosedError())
        self.assertEqual(logs, [])
        self.assertNoResult(stopped)
        self.store.stopped.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.events[-1], "close")
        self.assertTrue(self.threads.stopped)

    def test_drain_is_bounded(self) -> None:
        """A request that does not end in time does not keep the store from closing."""
        self.drained = Deferred()
        service = self.service()
        service.startService()
        stopped = service.stopService()
        self.reactor.advance(9)
        self.assertEqual(self.events[-1], "drain")
        with capturedLogs() as logs:
            self.reactor.advance(1)
        self.assertEqual(self.events[-1], "close")
        self.assertEqual(logs[0]["log_level"], LogLevel.warn)
        self.successResultOf(stopped)

    def test_store_that_hangs(self) -> None:
        """A disk that does not answer keeps the process no longer than requests do."""
        self.store.stopped = Deferred()
        service = self.service()
        service.startService()
        stopped = service.stopService()
        self.reactor.advance(9)
        self.assertEqual(self.events[-1], "close")
        with capturedLogs() as logs:
            self.reactor.advance(1)
        self.assertEqual(self.events[-1], "exit")
        self.assertEqual(logs[0]["log_level"], LogLevel.error)
        self.store.stopped.callback(None)
        self.successResultOf(stopped)

    def test_store_that_hangs_after_requests(self) -> None:
        """It has a moment even if requests took all of the time."""
        self.drained = Deferred()
        self.store.stopped = Deferred()
        service = self.service()
        service.startService()
        stopped = service.stopService()
        self.reactor.advance(10)
        self.assertEqual(self.events[-1], "close")
        self.reactor.advance(LAST_WRITES / 2)
        self.store.stopped.callback(None)
        self.successResultOf(stopped)
        self.reactor.advance(LAST_WRITES)
        self.assertEqual(self.events[-1], "close")

    def test_while_binding(self) -> None:
        """Stopped while the endpoint binds, it gives up and touches no store."""
        self.endpoint.answer = Deferred
        service = self.service()
        service.startService()
        self.successResultOf(service.stopService())
        self.assertEqual(self.events, ["bind"])

    def test_while_counting(self) -> None:
        """Stopped while the store still counts, it stops without complaint."""
        self.store.measured = Deferred()
        service = self.service()
        service.startService()
        self.successResultOf(service.stopService())
        self.store.measured.errback(StoreClosedError())
        self.assertNotIn("fail", self.events)

    def test_never_started(self) -> None:
        """Stopping what never started does nothing."""
        self.successResultOf(self.service().stopService())
        self.assertEqual(self.events, [])

    def test_again(self) -> None:
        """A stopped service can be started again."""
        service = self.service()
        service.startService()
        self.successResultOf(service.stopService())
        del self.events[:]
        service.startService()
        self.assertEqual(self.events, ["bind", "open"])


class AnnouncementTests(ServiceTestCase):
    """The log lines of the start."""

    def announced(
        self,
        storage: Path | DatabaseURL | None = Path("/images"),
        *,
        sync: bool = True,
    ) -> list[str]:
        """Start and return the lines logged."""
        with capturedLogs() as logs:
            self.service(storage, sync=sync).startService()
        return [str(formatEvent(event)) for event in logs]

    def test_all_facts(self) -> None:
        """Version, addresses, storage and settings are on one line."""
        (line,) = self.announced()
        self.assertEqual(
            line,
            f"asciid {__version__} listens on 127.0.0.1:4444, storage /images, "
            "images 7, pending uploads 2, sync on, workers 1",
        )

    def test_no_sync(self) -> None:
        """Without sync there is a warning."""
        first, second = self.announced(sync=False)
        self.assertIn("images 7, pending uploads 2, sync off", first)
        self.assertEqual(second, "sync is off: a power cut loses acknowledged writes")

    def test_body_limit(self) -> None:
        """There is a warning if bodies may hold more than was set."""
        self.patch(announcement, "body_limit_warning", lambda _: "watch out")
        self.assertEqual(self.announced()[1:], ["watch out"])

    def test_memory(self) -> None:
        """Without a disk there is a warning, and sync is off."""
        first, second = self.announced(None)
        self.assertIn("storage :memory:, images 7, pending uploads 2, sync off", first)
        self.assertEqual(second, "images are kept in memory and are lost at exit")

    def test_database(self) -> None:
        """The password of a database is not logged; the database syncs."""
        database = DatabaseURL.parse("postgresql://u:hunter2@h/art")
        for sync in (True, False):
            (line,) = self.announced(database, sync=sync)
            self.assertIn("storage postgresql://u:***@h/art, images 7", line)
            self.assertIn("sync on", line)

    def test_unreachable_database(self) -> None:
        """A daemon that cannot reach its database yet serves all the same."""
        self.store.measured = fail(DatabaseUnavailableError())
        database = DatabaseURL.parse("postgresql://u:hunter2@h/art")
        first, second = self.announced(database)
        self.assertIn("images unknown, pending uploads unknown, sync on", first)
        self.assertIn("the database cannot be reached", second)

    def test_other_addresses(self) -> None:
        """An IPv6 address is in brackets; a Unix socket is named."""
        for address, text in [
            (IPv6Address("TCP", "::1", 80), "listens on [::1]:80, "),
            (UNIXAddress("/run/asciid"), "listens on unix:/run/asciid, "),
        ]:
            self.port.address = address
            self.assertIn(text, self.announced()[0])
