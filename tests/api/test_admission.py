"""Who may write, as far as the header fields tell."""

from __future__ import annotations

import json
from ipaddress import ip_network

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from asciid.net.rate_limit import Rate, RateLimit
from asciid.testing import MemoryStore
from tests.api._raw import OnAsciid, OnSite, RawAnswer, RawCase
from tests.api._support import CAT, CAT_BYTES, CAT_SHA256, OneToken

IMAGE = f"/image/{CAT_SHA256}"
JSON = "Content-Type: application/json"
LARGE = 100_000


class UploadRateContract(RawCase):
    """The limit on how often a client may upload."""

    def setUp(self) -> None:
        """Allow each client two uploads a minute."""
        self.clock = Clock()
        self.api_options = {
            "upload_rate": RateLimit(Rate(2, 60), self.clock.seconds),
            "trusted_proxies": [ip_network("127.0.0.1")],
        }
        self.serve(MemoryStore())

    def register(self, *lines: str) -> RawAnswer:
        """Register the cat."""
        body = {"sha256": CAT_SHA256, "size": len(CAT_BYTES), "chunk_size": 30}
        return self.ask("POST", "/image", JSON, *lines, body=json.dumps(body))

    def put(self, *lines: str) -> RawAnswer:
        """Send the cat."""
        return self.ask("PUT", IMAGE, *lines, body=CAT)

    def test_every_kind(self) -> None:
        """All requests that create an image share the tokens of a client."""
        self.assertEqual(self.register().status, 201)
        self.assertEqual(self.put().status, 201)
        for answer in (self.register(), self.put()):
            self.assert_problem(answer, 429, "upload-rate")
            self.assertEqual(answer.fields["retry-after"], "30")

    def test_retry_after(self) -> None:
        """A client that waits as long as Retry-After says is served."""
        for _ in range(3):
            answer = self.put()
        self.clock.advance(7.5)
        answer = self.put()
        self.assertEqual(answer.fields["retry-after"], "23")
        self.clock.advance(23)
        self.assertEqual(self.put().status, 200)

    def test_other_requests(self) -> None:
        """Chunks and reads are not counted, nor refused."""
        self.assertEqual(self.register().status, 201)
        self.assertEqual(self.register().status, 409)
        body = json.dumps({"id": 0, "size": len(CAT_BYTES), "data": CAT})
        answer = self.ask("POST", f"{IMAGE}/chunks", JSON, body=body)
        self.assertEqual(answer.status, 201)
        self.assertEqual(self.ask("GET", IMAGE).status, 200)

    def test_clients_behind_a_proxy(self) -> None:
        """Each client has tokens of its own; an IPv6 network is one client."""
        self.assertEqual(self.register("Forwarded: for=192.0.2.1").status, 201)
        for client in ("192.0.2.1", '"[2001:db8::1]"', '"[2001:db8::2]"'):
            self.assertEqual(self.register(f"Forwarded: for={client}").status, 409)
        for client in ("192.0.2.1", '"[2001:db8::3]"'):
            self.assertEqual(self.register(f"Forwarded: for={client}").status, 429)


class OnSiteUploadRateTests(OnSite, UploadRateContract, SynchronousTestCase):
    """On the stock Site."""


class UploadRateTests(OnAsciid, UploadRateContract, SynchronousTestCase):
    """On asciid's own server."""

    def begin(self, path: str, method: str, *lines: str) -> bytes:
        """Send the head of a request with a large body; return what is answered."""
        head = "\r\n".join(
            [
                f"{method} {path} HTTP/1.1",
                "Host: asciid.test",
                f"Content-Length: {LARGE}",
                *lines,
            ]
        )
        return self.client.raw(f"{head}\r\n\r\n")

    def test_refused_before_the_body(self) -> None:
        """What is over the rate is refused before its body is read."""
        self.assertEqual(self.begin(IMAGE, "PUT"), b"")
        self.assertEqual(self.begin(IMAGE, "PUT"), b"")
        for method, path in (("PUT", IMAGE), ("POST", "/image")):
            answer = self.begin(path, method, JSON, "Expect: 100-continue")
            self.assertIn(b"429 ", answer.partition(b"\r\n")[0])
            self.assertNotIn(b"100 Continue", answer)

    def test_waiting_takes_nothing(self) -> None:
        """A registration whose body arrives later takes one token, not two."""
        body = {"sha256": CAT_SHA256, "size": len(CAT_BYTES), "chunk_size": 30}
        text = json.dumps(body)
        for status in (b"201", b"409", b"429"):
            transport = self.client.connect(
                "POST /image HTTP/1.1\r\nHost: asciid.test\r\n"
                f"{JSON}\r\nContent-Length: {len(text)}\r\n\r\n"
            )
            if not transport.value():
                transport.protocol.dataReceived(text.encode())
            self.assertIn(status, transport.value().partition(b"\r\n")[0])

    def test_unauthorized(self) -> None:
        """A request without a token takes none of the rate."""
        self.api_options = {**self.api_options, "tokens": OneToken(b"good")}
        self.serve(MemoryStore())
        for _ in range(5):
            self.assertEqual(self.put().status, 401)
        self.assertEqual(self.put("Authorization: Bearer good").status, 201)
