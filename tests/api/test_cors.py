"""Tests of asciid.api._cors on both HTTP stacks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from asciid.api import ImageAPI
from asciid.api._contract import METHODS, load_contract
from asciid.net.body_limits import InputLimits
from asciid.testing import MemoryStore
from tests.api._raw import OnAsciid, OnSite, RawAnswer, RawCase
from tests.api._support import CAT_BYTES, CAT_SHA256, OneToken

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = "https://art.example"
THEIRS = "https://evil.example"
IMAGE = f"/image/{CAT_SHA256}"


SENT_BY_BROWSERS = {"Accept-Encoding", "Access-Control-Request-Method", "Origin"}
"""Fields that no page can send (Fetch, "forbidden request-header")."""

SAFELISTED = {"Cache-Control", "Last-Modified"}
"""Fields that every page can read (Fetch, "CORS-safelisted response-header name")."""

READ_BY_BROWSERS = {
    "Accept-Encoding",
    "Access-Control-Allow-Headers",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Origin",
    "Access-Control-Expose-Headers",
    "Access-Control-Max-Age",
    "Content-Location",
    "Content-Security-Policy",
    "Referrer-Policy",
    "Vary",
    "X-Content-Type-Options",
    "X-Robots-Tag",
}
"""Fields that no page needs."""

NOT_SHARED = {
    "/",
    "/favicon.ico",
    "/favicon.svg",
    "/livez",
    "/metrics",
    "/readyz",
    "/robots.txt",
}
"""Paths that pages of other sites cannot read."""


def paths() -> Iterator[tuple[str, set[str]]]:
    """Yield each path of the service with its methods."""
    methods: dict[str, set[str]] = {}
    for rule in ImageAPI.app.url_map.iter_rules():
        path = rule.rule.replace("<sha256>", CAT_SHA256)
        methods.setdefault(path, set()).update(rule.methods or ())
    yield from methods.items()


class CORSContract(RawCase):
    """The CORS fields."""

    def setUp(self) -> None:
        """Let one origin write."""
        self.api_options = {"write_origins": [OURS]}
        self.serve(MemoryStore())

    def post(self, *lines: str) -> RawAnswer:
        """Register an image."""
        body = {"sha256": CAT_SHA256, "size": len(CAT_BYTES), "chunk_size": 30}
        json_lines = ("Content-Type: application/json", *lines)
        return self.ask("POST", "/image", *json_lines, body=json.dumps(body))

    def assert_readable(self, answer: RawAnswer, origin: str | None) -> None:
        """Check which origin's pages may read the response."""
        fields = answer.fields
        self.assertEqual(fields.get("access-control-allow-origin"), origin)
        exposed = fields.get("access-control-expose-headers")
        self.assertEqual(exposed is not None, origin is not None)
        if exposed is not None:
            self.assertIn("ETag", exposed.split(", "))

    def test_reads(self) -> None:
        """Any page may read responses to reads, including errors."""
        for path in (IMAGE, f"{IMAGE}/chunks", "/nowhere", "/image/cat", "/image"):
            for method in ("GET", "HEAD"):
                self.assert_readable(self.ask(method, path), "*")
        self.post()
        self.assert_readable(self.ask("GET", f"{IMAGE}/chunks"), "*")

    def test_writes(self) -> None:
        """Pages of the configured origin may read responses to writes."""
        for status in (201, 409):
            answer = self.post(f"Origin: {OURS}")
            self.assertEqual(answer.status, status)
            self.assert_readable(answer, OURS)
            self.assertEqual(answer.fields["vary"], "Origin")

    def test_writes_of_others(self) -> None:
        """Pages of other origins may not; requests without an origin go on."""
        for lines in ([f"Origin: {THEIRS}"], ["Origin: null"], []):
            self.serve(MemoryStore())
            answer = self.post(*lines)
            self.assertEqual(answer.status, 201)
            self.assert_readable(answer, None)
            self.assertEqual(answer.fields["vary"], "Origin")

    def test_every_route(self) -> None:
        """
        No handler forgets: every answer of every route says who may see it, but for
        the metrics, the health and the pages, which are no business of other pages.
        """
        for path, methods in paths():
            if path in NOT_SHARED:
                self.assert_readable(self.ask("GET", path), None)
                continue
            for method in methods - {"OPTIONS"}:
                answer = self.ask(method, path, f"Origin: {OURS}")
                origin = "*" if method in ("GET", "HEAD") else OURS
                self.assert_readable(answer, origin)

    def test_nobody_writes_by_default(self) -> None:
        """Without configured origins a write is for no page."""
        self.api_options = {}
        self.serve(MemoryStore())
        answer = self.post(f"Origin: {OURS}")
        self.assertEqual(answer.status, 201)
        self.assert_readable(answer, None)
        self.assertNotIn("vary", answer.fields)

    def test_options(self) -> None:
        """OPTIONS of every path names its methods; of no path it is 404."""
        for path, methods in paths():
            answer = self.ask("OPTIONS", path)
            self.assertEqual((answer.status, answer.body), (204, b""))
            self.assert_fields(answer, {"allow", "vary"})
            allowed = set(answer.fields["allow"].split(", "))
            # Any path of one segment takes PUT.
            named = {"PUT"} if path.count("/") == 1 else set()
            self.assertEqual(allowed, methods | named | {"OPTIONS"})
        self.assertEqual(self.ask("OPTIONS", "/no/where").status, 404)

    def preflight(self, origin: str, method: str, path: str = IMAGE) -> RawAnswer:
        """Send a preflight."""
        answer = self.ask(
            "OPTIONS",
            path,
            f"Origin: {origin}",
            f"Access-Control-Request-Method: {method}",
            "Access-Control-Request-Headers: range",
        )
        self.assertEqual((answer.status, answer.body), (204, b""))
        return answer

    def test_preflight_of_a_read(self) -> None:
        """Any page may read with the header fields that reading has."""
        for origin in (OURS, THEIRS):
            fields = self.preflight(origin, "GET").fields
            self.assertEqual(fields["access-control-allow-origin"], "*")
            self.assertEqual(fields["access-control-allow-methods"], "GET, HEAD")
            self.assertIn("Range", fields["access-control-allow-headers"].split(", "))
            self.assertEqual(fields["access-control-max-age"], "7200")

    def test_preflight_of_a_write(self) -> None:
        """Only pages of the configured origin may write."""
        for method, path in (("PUT", IMAGE), ("POST", "/image")):
            fields = self.preflight(OURS, method, path).fields
            self.assertEqual(fields["access-control-allow-origin"], OURS)
            self.assertIn(method, fields["access-control-allow-methods"].split(", "))
            allowed = fields["access-control-allow-headers"].split(", ")
            self.assertIn("Content-Type", allowed)
            self.assert_fields(self.preflight(THEIRS, method, path), {"allow", "vary"})
        self.assert_fields(self.preflight(OURS, "PATCH"), {"allow", "vary"})

    def test_tokens(self) -> None:
        """Pages that may write may send a token, delete, and see why they may not."""
        self.api_options = {"write_origins": [OURS], "tokens": OneToken(b"good")}
        self.serve(MemoryStore())
        for method in ("PUT", "DELETE"):
            fields = self.preflight(OURS, method).fields
            self.assertEqual(fields["access-control-allow-origin"], OURS)
            self.assertIn("DELETE", fields["access-control-allow-methods"].split(", "))
            allowed = fields["access-control-allow-headers"].split(", ")
            self.assertIn("Authorization", allowed)
            self.assert_fields(self.preflight(THEIRS, method), {"allow", "vary"})
        fields = self.preflight(OURS, "GET").fields
        self.assertNotIn("Authorization", fields["access-control-allow-headers"])
        answer = self.post(f"Origin: {OURS}")
        self.assertEqual(answer.status, 401)
        self.assert_readable(answer, OURS)
        exposed = answer.fields["access-control-expose-headers"].split(", ")
        self.assertIn("WWW-Authenticate", exposed)

    def test_every_field(self) -> None:
        """Pages can send and read all header fields that are documented for clients."""
        self.api_options = {"write_origins": [OURS], "tokens": OneToken(b"good")}
        self.serve(MemoryStore())
        contract = load_contract(InputLimits(1_000, 1_000))
        parameters = contract["components"]["parameters"].values()
        sent = {each["name"] for each in parameters if each["in"] == "header"}
        allowed = self.preflight(OURS, "PUT").fields["access-control-allow-headers"]
        self.assertEqual(sent - set(allowed.split(", ")), SENT_BY_BROWSERS)
        answer = self.post(f"Origin: {OURS}")
        exposed = answer.fields["access-control-expose-headers"].split(", ")
        responses = [
            contract["components"]["responses"].get(
                each.get("$ref", "").rpartition("/")[2], each
            )
            for operations in contract["paths"].values()
            for method in set(METHODS) & set(operations)
            for each in operations[method]["responses"].values()
        ]
        received = {name for response in responses for name in response["headers"]}
        self.assertEqual(received - SAFELISTED - set(exposed), READ_BY_BROWSERS)

    def test_no_tokens(self) -> None:
        """Without tokens, Authorization is not listed."""
        for method in ("PUT", "DELETE"):
            fields = self.preflight(OURS, method).fields
            self.assertNotIn("Authorization", fields["access-control-allow-headers"])
            self.assertIn("Asciid-Edit-Key", fields["access-control-allow-headers"])


class SiteTests(OnSite, CORSContract, SynchronousTestCase):
    """CORS under stock `twisted.web.server.Site`."""


class ServerTests(OnAsciid, CORSContract, SynchronousTestCase):
    """CORS on asciid's HTTP server."""
