"""Health: /livez and /readyz."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from attrs import define, evolve
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from asciid.metrics import Metrics, RequestCounts
from asciid.net.fair_limit import FairLimit
from asciid.store import IImageStore, StoreHealth
from asciid.testing import MemoryStore
from tests.api._support import Client, Working, make_api, make_server
from tests.integration._daemon import ROOT

if TYPE_CHECKING:
    from asciid.http import KleinFactory

READY = StoreHealth(open=True, writes=True, reads=True, has_room=True)
NAMES = ("storage", "writes", "reads", "room", "serving", "bodies", "connections")
CHECKS = {name: {"ok": True} for name in NAMES}


@implementer(IImageStore)
class AilingStore(MemoryStore):
    """A store whose health the test decides on."""

    known = READY

    def health(self) -> StoreHealth:
        """Return the state that the test set."""
        return self.known


@define
class Health:
    """An answer with a JSON body."""

    status: int
    media_type: str
    retry_after: str | None
    document: dict[str, object]


class HealthTests(SynchronousTestCase):
    """The health endpoints."""

    def setUp(self) -> None:
        """Serve a store."""
        self.store = AilingStore()
        api = make_api(self.store, max_image_size=1_000, max_chunk_size=100)
        self.api = api
        self.server: KleinFactory = make_server(api, Clock())
        self.client = Client(self.server)

    def get(self, path: str) -> Health:
        """Request, and check the common fields of the response."""
        answer = self.successResultOf(self.client.begin("GET", path))
        self.assertEqual(answer.header("Cache-Control"), "no-store")
        head = self.successResultOf(self.client.begin("HEAD", path))
        self.assertEqual(
            (head.status, head.body, head.header("Content-Length")),
            (answer.status, b"", str(len(answer.body))),
        )
        return Health(
            answer.status,
            answer.header("Content-Type") or "",
            answer.header("Retry-After"),
            json.loads(answer.body),
        )

    def assert_not_ready(self, name: str, reason: str) -> None:
        """Check that the service is not ready for that one reason."""
        answer = self.get("/readyz")
        self.assertEqual(answer.status, 503)
        self.assertEqual(answer.media_type, "application/problem+json")
        self.assertEqual(answer.retry_after, "1")
        self.assertEqual(answer.document["type"], "/problems/not-ready")
        self.assertEqual(answer.document["detail"], reason)
        self.assertEqual(
            answer.document["checks"],
            {**CHECKS, name: {"ok": False, "reason": reason}},
        )

    def test_ready(self) -> None:
        """All well is 200, and each check is named."""
        self.assertEqual(
            self.get("/readyz"),
            Health(200, "application/json", None, {"ready": True, "checks": CHECKS}),
        )

    def test_documented(self) -> None:
        """The operator's manual has a row for each check, in their order."""
        text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
        section = text.partition("\n## Health\n")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
        checks: Any = self.get("/readyz").document["checks"]
        self.assertEqual(rows, list(checks))

    def test_not_ready(self) -> None:
        """Each thing that does not work is 503, with the check that failed."""
        for attribute, name, reason in (
            ("open", "storage", "The storage is not open."),
            ("writes", "writes", "The last write to the storage failed."),
            ("reads", "reads", "Reading from the storage fails or hangs."),
            ("has_room", "room", "The disk is full but for the reserve."),
        ):
            self.store.known = evolve(READY, **{attribute: False})
            self.assert_not_ready(name, reason)
        self.store.known = READY
        self.assertEqual(self.get("/readyz").status, 200)

    def test_unreplicated(self) -> None:
        """A database without a synchronous standby is ready, with a reason."""
        self.store.known = evolve(READY, is_replicated=False)
        health = self.get("/readyz")
        self.assertEqual(health.status, 200)
        checks: Any = health.document["checks"]
        reason = (
            "The database has no synchronous standby: a commit is on one server only."
        )
        self.assertEqual(checks["writes"], {"ok": True, "reason": reason})

    def test_all_reasons(self) -> None:
        """All failures are reported together."""
        self.store.known = StoreHealth(
            open=False, writes=False, reads=False, has_room=False
        )
        detail = str(self.get("/readyz").document["detail"])
        self.assertEqual(detail.count("."), 4)

    def test_draining(self) -> None:
        """During the stop the service is not ready."""
        self.server.draining = True
        self.assert_not_ready("serving", "The service is stopping.")

    def test_asked_before_the_drain(self) -> None:
        """So it is for a request that began before, whose connection is then closed."""
        transport = StringTransportWithDisconnection()
        connection: Any = self.server.buildProtocol(None)
        transport.protocol = connection
        connection.makeConnection(transport)
        connection.dataReceived(b"GET /readyz HTTP/1.1\r\nHost: a")
        drained = self.server.drain()
        self.assertNoResult(drained)
        connection.dataReceived(b"\r\n\r\n")
        head, _, body = transport.value().decode().partition("\r\n\r\n")
        self.assertTrue(head.startswith("HTTP/1.1 503 "), head)
        self.assertIn("\r\nConnection: close", head)
        self.assertFalse(json.loads(body)["checks"]["serving"]["ok"])

    def test_limit_reached(self) -> None:
        """A limit that one client uses up is reported, but all is well for others."""
        clock = Clock()
        self.server.bodies = limit = FairLimit(10, clock.seconds)
        limit.take("192.0.2.1", Working(), 10)
        for _ in range(12):
            limit.take("192.0.2.1", Working(), 1)
            clock.advance(1)
        answer = self.get("/readyz")
        self.assertEqual((answer.status, answer.document["ready"]), (200, True))
        checks: Any = answer.document["checks"]
        self.assertTrue(checks["bodies"]["ok"])
        self.assertIn("is reached", checks["bodies"]["reason"])
        self.assertEqual(checks["connections"], {"ok": True})
        for _ in range(12):
            limit.take("192.0.2.2", Working(), 1)
            clock.advance(1)
        reason = "Clients are refused their equal share of bodies."
        self.assert_not_ready("bodies", reason)
        clock.advance(20)
        self.assertEqual(self.get("/readyz").document["checks"], CHECKS)

    def test_another_http(self) -> None:
        """Behind an HTTP server that is not asciid's, nothing is known of draining."""
        store = MemoryStore()
        self.successResultOf(store.start())
        checks = Metrics(store, RequestCounts()).failed_checks()
        self.assertEqual([name for name, reason in checks.items() if reason], [])

    def test_live(self) -> None:
        """The process lives whatever becomes of its disk."""
        self.store.known = StoreHealth(
            open=False, writes=False, reads=False, has_room=False
        )
        live = Health(200, "application/json", None, {"live": True})
        self.assertEqual(self.get("/livez"), live)
        self.server.draining = True
        self.assertEqual(self.get("/livez"), live)
