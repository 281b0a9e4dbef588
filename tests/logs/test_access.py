"""The access log, behind the API and the server."""

from __future__ import annotations

import json
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import UNIXAddress
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from asciid.config.settings import Settings, resolve
from asciid.daemon.assembly import make_image_service, make_observer
from asciid.daemon.host import Host
from asciid.http import Refusal
from asciid.logs.access import LEFT, AccessLog, AccessRecord, access_writer
from asciid.testing import MemoryStore
from tests._thoroughness import examples
from tests.api._support import CAT_SHA256, Client, make_api, make_server
from tests.http._support import MemoryTransport, get, parse_answers, post


class AccessLogTests(SynchronousTestCase):
    """The record of each request."""

    def setUp(self) -> None:
        """Serve an empty store, and collect the records."""
        self.seen: list[AccessRecord] = []
        self.api = make_api(
            MemoryStore(),
            max_image_size=1000,
            max_chunk_size=1000,
            trusted_proxies=[ip_network("192.0.2.0/24")],
        )
        self.log = AccessLog(self.seen.append, self.api.clients.of)
        self.server = make_server(self.api, MemoryReactorClock(), observer=self.log)

    def connect(self) -> MemoryTransport:
        """Open a connection."""
        transport = MemoryTransport()
        transport.protocol = self.server.buildProtocol(transport.getPeer())
        transport.protocol.makeConnection(transport)
        return transport

    def ask(self, data: bytes) -> AccessRecord:
        """Send a request; return its record."""
        transport = self.connect()
        transport.protocol.dataReceived(data)
        transport.disappear(ConnectionError())
        return self.seen.pop()

    def test_answered(self) -> None:
        """The record of an ordinary request."""
        access = self.ask(
            get(
                b"/image/%b?x=1" % CAT_SHA256.encode(),
                b"Referer: http://art.example/",
                b"User-Agent: curl/8",
                b"X-Request-Id: mine",
            )
        )
        self.assertEqual(self.seen, [])
        self.assertGreaterEqual(access.seconds, 0)
        self.assertGreater(access.bytes, 100)
        self.assertEqual(
            {**access.members(), "seconds": 0, "bytes": 0},
            {
                "request_id": "mine",
                "client": "192.0.2.1",
                "method": "GET",
                "target": f"/image/{CAT_SHA256}?x=1",
                "protocol": "HTTP/1.1",
                "route": "download",
                "status": 404,
                "bytes": 0,
                "seconds": 0,
                "referer": "http://art.example/",
                "user_agent": "curl/8",
            },
        )

    def test_proxy(self) -> None:
        """The client is the one that a trusted proxy reports."""
        access = self.ask(get(b"/none/such", b"X-Forwarded-For: 198.51.100.7"))
        self.assertEqual((access.client, access.route), ("198.51.100.7", None))

    def test_long_values(self) -> None:
        """Long values are truncated, marked by dots."""
        field = b"User-Agent: " + b"\xff" * 5000
        access = self.ask(get(b"/" + b'"' * 5000, field, b"Referer: " + b"r" * 1024))
        self.assertEqual(access.target, "/" + '"' * 1023 + "...")
        self.assertEqual(access.user_agent, "\xff" * 1024 + "...")
        self.assertEqual(access.referer, "r" * 1024)
        self.assertIn("\\x22" * 1023 + "... HTTP", access.combined(0))
        token = b"/?a=" + b"b" * 1000 + b"&access_token=secret"
        self.assertNotIn("secr", self.ask(get(token)).target)

    def test_refused(self) -> None:
        """Requests refused by the HTTP server are logged with their known fields."""
        access = self.ask(b"nonsense\r\n\r\n")
        self.assertEqual(
            (access.client, access.method, access.target, access.status),
            ("192.0.2.1", "-", "-", 400),
        )
        access = self.ask(get(b"/livez", b"Content-Length: 9999999", method=b"POST"))
        self.assertEqual((access.method, access.target), ("POST", "/livez"))
        self.assertEqual(access.status, 405)
        length = b"Content-Length: 9999999"
        json_type = b"Content-Type: application/json"
        access = self.ask(get(b"/image", length, json_type, method=b"POST"))
        self.assertEqual((access.method, access.target), ("POST", "/image"))
        self.assertEqual(access.status, 413)
        self.assertNotEqual(access.request_id, "-")

    def test_paths_that_are_not_utf_8(self) -> None:
        """They are refused like any other, and logged as received."""
        for target in (
            b"/image/%ff",
            b"/%c3",
            b"/problems/%ed%a0%80?q=%ff",
            b"/%80%f8",
        ):
            for request in (
                get(target, b"Referer: \xff\xfe", b"User-Agent: \xc3\x28"),
                get(target, b"X-Request-Id: \xff", method=b"HEAD"),
                post(target, b"body", method=b"PUT"),
                get(target, b"X-Forwarded-For: \xff", b"Forwarded: for=\xff"),
            ):
                access = self.ask(request)
                self.assertEqual((access.status, access.route), (400, None))
                self.assertEqual(access.target, target.decode())
                self.assertTrue(access.combined(0).isascii())
                json.dumps(access.members()).encode()
        self.assertEqual(self.flushLoggedErrors(), [])

    @examples(200)
    @given(
        st.binary(max_size=8),
        st.sampled_from(
            [
                *(b"User-Agent", b"Referer", b"X-Request-Id", b"X-Forwarded-For"),
                *(b"Forwarded", b"traceparent", b"Accept", b"If-Match", b"Range"),
            ]
        ),
        st.binary(max_size=12).filter(lambda value: not {*b"\r\n\0"} & {*value}),
    )
    def test_any_bytes(self, path: bytes, name: bytes, value: bytes) -> None:
        """Any request gets one response and one line."""
        target = b"/image/" + quote(path, safe="").encode()
        transport = self.connect()
        transport.protocol.dataReceived(get(target, b"%b: %b" % (name, value)))
        [answer] = parse_answers(transport.value(), closed=False)
        [access] = self.seen
        self.seen.clear()
        self.assertEqual(access.status, answer.status)
        self.assertLess(answer.status, 500)
        self.assertTrue(access.combined(0).isascii())
        json.dumps(access.members()).encode()

    def test_refused_on_a_unix_socket(self) -> None:
        """There the client has no address."""
        self.log.refused(Refusal(400, 0, UNIXAddress(None), b"x", None))
        self.assertEqual(self.seen[0].client, "local")

    def test_abandoned(self) -> None:
        """A client that disconnects before the response has a status of its own."""
        path = b"/image/%b" % CAT_SHA256.encode()
        access = self.ask(get(path, b"Content-Length: 5", method=b"PUT") + b"ab")
        self.assertEqual((access.status, access.bytes), (LEFT, 0))

    def test_secrets(self) -> None:
        """Credentials are not logged."""
        access = self.ask(
            get(
                b"/image?a=1&access_token=hunter2&b=2",
                b"Authorization: Bearer hunter2",
                b"Asciid-Edit-Key: hunter2",
                b"Cookie: hunter2",
                b"Referer: http://art.example/?Access_Token=hunter2",
            )
        )
        self.assertNotIn("hunter2", access.combined(0) + json.dumps(access.members()))
        self.assertEqual(access.target, "/image?a=1&access_token=***&b=2")
        for name in ("Asciid-Edit-Key", "edit_key", "editkey", "EDIT-KEY"):
            access = self.ask(get(f"/image?{name}=hunter2&b=2".encode()))
            self.assertEqual(access.target, f"/image?{name}=***&b=2")

    def test_sample(self) -> None:
        """Of a sample, the draw decides for each, whatever becomes of it."""
        draws = iter([0.0, 0.25, 0.9, 0.1, 0.3, 0.2])
        log = AccessLog(
            self.seen.append, self.api.clients.of, 0.25, lambda: next(draws)
        )
        self.server.observer = log
        transport = self.connect()
        for n in range(4):
            transport.protocol.dataReceived(get(b"/%d" % n))
        transport.protocol.dataReceived(b"nonsense\r\n\r\n")
        path = b"/image/%b" % CAT_SHA256.encode()
        transport = self.connect()
        transport.protocol.dataReceived(get(path, b"Content-Length: 5", method=b"PUT"))
        transport.disappear(ConnectionError())
        self.assertEqual(
            [access.target for access in self.seen], ["/0", "/3", path.decode()]
        )


def an_access(**changes: Any) -> AccessRecord:  # noqa: ANN401 - of each field's type
    """Return a record of a request."""
    fields: dict[str, Any] = {
        "request_id": "mine",
        "client": "192.0.2.1",
        "method": "GET",
        "target": "/image",
        "protocol": "HTTP/1.1",
        "route": None,
        "status": 404,
        "bytes": 12,
        "seconds": 0.001,
    }
    return AccessRecord(**{**fields, **changes})


class FormTests(SynchronousTestCase):
    """The formats and destinations."""

    def test_combined(self) -> None:
        """The Combined Log Format, in UTC."""
        self.assertEqual(
            an_access(referer="http://a/", user_agent="curl").combined(784111777),
            '192.0.2.1 - - [06/Nov/1994:08:49:37 +0000] "GET /image HTTP/1.1" '
            '404 12 "http://a/" "curl"',
        )

    def test_combined_without(self) -> None:
        """Missing values are a dash."""
        self.assertEqual(
            an_access(method="-", target="-", protocol="-", bytes=0).combined(0),
            '192.0.2.1 - - [01/Jan/1970:00:00:00 +0000] "-" 404 - "-" "-"',
        )

    def test_forgery(self) -> None:
        """No value ends its quotes, its line, or the peace of a terminal."""
        line = an_access(user_agent='" 200 0 "\\\x1b[2J\n\x9b\xe4').combined(0)
        self.assertTrue(
            line.endswith('"\\x22 200 0 \\x22\\x5c\\x1b[2J\\x0a\\x9b\\xe4"'), line
        )

    def test_files(self) -> None:
        """A file gets lines of the one form or the other."""
        for style in ("text", "json"):
            path = Path(self.mktemp())
            write = access_writer(path, style, None, lambda: 784111777.0)
            write(an_access())
            write(an_access(status=200))
            first, second = path.read_text().splitlines()
            if style == "text":
                self.assertEqual(first, an_access().combined(784111777.0))
                continue
            time = {"time": "1994-11-06T08:49:37.000Z"}
            self.assertEqual(json.loads(first), {**time, **an_access().members()})
            self.assertEqual(json.loads(second)["status"], 200)

    def test_the_log(self) -> None:
        """The log gets the line as a message, or the members as its own."""
        with capturedLogs() as events:
            access_writer(Path("-"), "text", None, lambda: 0.0)(an_access())
            access_writer(Path("-"), "json", None)(an_access())
        text, structured = events
        self.assertEqual(formatEvent(text), an_access().combined(0))
        self.assertEqual(formatEvent(structured), "GET /image 404")
        self.assertEqual({structured["log_namespace"]}, {"asciid.access"})
        members = an_access().members()
        self.assertEqual({name: structured[name] for name in members}, members)


class SettingsTests(SynchronousTestCase):
    """From the settings to a line."""

    def test_off(self) -> None:
        """By default only the metrics observe requests."""
        api = make_api(MemoryStore(), max_image_size=1, max_chunk_size=1)
        self.assertIs(make_observer(resolve({}, {}), api, None), api.metrics.requests)

    def test_on(self) -> None:
        """With a file, each request is counted and written."""
        path = Path(self.mktemp())
        api = make_api(MemoryStore(), max_image_size=1, max_chunk_size=1)
        settings = resolve({"access-log": str(path), "log-format": "json"}, {})
        observer = make_observer(settings, api, None)
        server = make_server(api, MemoryReactorClock(), observer=observer)
        client = Client(server)
        client.raw(get(b"/image").decode())
        client.raw(post(b"/image", b"").decode())
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        self.assertEqual(
            [(line["method"], line["status"], line["client"]) for line in lines],
            [("GET", 405, "127.0.0.1"), ("POST", 415, "127.0.0.1")],
        )
        self.assertEqual(sum(api.metrics.requests.by_status().values()), 2)

    def test_refusals(self) -> None:
        """Refusals of the HTTP server and of routes are logged by kind."""
        settings = Settings("tcp:0", None, 1, 1, sync=True)
        host = Host(MemoryReactorClock())
        engine = MemoryStore()._engine
        server: Any = make_image_service(settings, host, engine)._server
        with capturedLogs() as events:
            for request in (get(b"/nowhere").decode(), "nonsense\r\n\r\n") * 3:
                Client(server).raw(request)
        self.assertEqual(
            [event["reason"] for event in events if "reason" in event],
            ["not-found", "http-400"],
        )

    def test_sample(self) -> None:
        """The share reaches the log."""
        api = make_api(MemoryStore(), max_image_size=1, max_chunk_size=1)
        settings = resolve({"access-log": "-", "access-log-sample": "0.000001"}, {})
        server = make_server(
            api, MemoryReactorClock(), observer=make_observer(settings, api, None)
        )
        client = Client(server)
        with capturedLogs() as events:
            for _ in range(10):
                client.raw(get(b"/image").decode())
        logged = [e for e in events if e["log_namespace"] == "asciid.access"]
        # All ten of them would be logged by chance once in 10**60 runs.
        self.assertLess(len(logged), 10)
        self.assertEqual(sum(api.metrics.requests.by_status().values()), 10)
