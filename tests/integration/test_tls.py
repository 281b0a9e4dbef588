"""A daemon with TLS, and a client of Python's own that checks its certificate."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from tests.integration._certificate import write_certificate
from tests.integration._daemon import ANY_PORT, Daemon

if TYPE_CHECKING:
    from collections.abc import Sequence

ENDPOINT = "ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem"
IMAGE = b"0123456789abcdef" * (1 << 18)
PATH = f"/image/{sha256(IMAGE).hexdigest()}"


class TLSTests(SynchronousTestCase):
    """HTTP over TLS, by an endpoint."""

    options: Sequence[str] = ()
    """Further options of the daemon."""
    reloaded = "loaded the certificate in "
    """The log line after a SIGHUP was handled."""

    def setUp(self) -> None:
        """Start a daemon."""
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        write_certificate(directory)
        self.daemon = Daemon(directory, ["--port", ENDPOINT, *self.options])
        self.addCleanup(self.daemon.kill)
        self.daemon.start()
        self.context = ssl.create_default_context(cafile=str(directory / "cert.pem"))
        # What browsers and curl offer.
        self.context.set_alpn_protocols(["h2", "http/1.1"])

    def connect(self) -> http.client.HTTPSConnection:
        """Return a connection; the handshake was made."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.daemon.port, timeout=60, context=self.context
        )
        self.addCleanup(connection.close)
        connection.connect()
        return connection

    def test_large(self) -> None:
        """A large image is uploaded and downloaded over a persistent connection."""
        connection = self.connect()
        assert isinstance(connection.sock, ssl.SSLSocket)
        self.assertEqual(connection.sock.selected_alpn_protocol(), "http/1.1")
        headers = {"Content-Type": "text/plain"}
        connection.request("PUT", PATH, IMAGE, headers)
        answer = connection.getresponse()
        self.assertEqual((answer.status, answer.read()), (201, b""))
        connection.request("GET", PATH)
        answer = connection.getresponse()
        self.assertEqual(answer.status, 200)
        self.assertTrue(answer.read() == IMAGE)
        self.daemon.stop()

    def test_drain(self) -> None:
        """An upload under way is finished when the daemon stops."""
        connection = self.connect()
        connection.putrequest("PUT", PATH)
        connection.putheader("Content-Type", "text/plain")
        connection.putheader("Content-Length", str(len(IMAGE)))
        connection.endheaders(IMAGE[:1_000_000])
        os.kill(self.daemon.pid, signal.SIGTERM)
        self.wait_until_nobody_listens()
        connection.send(IMAGE[1_000_000:])
        answer = connection.getresponse()
        self.assertEqual(answer.status, 201)
        self.assertEqual(answer.headers["Connection"], "close")
        self.daemon.stop()
        self.assertEqual(self.daemon.start().images, 1)

    def scraped_expiry(self) -> float:
        """Return when the certificate expires, as the metrics have it."""
        connection = self.connect()
        connection.request("GET", "/metrics")
        name = 'asciid_certificate_expiry_timestamp_seconds{setting="port"} '
        text = connection.getresponse().read().decode()
        # A process that is replaced waits for the connections that it has.
        connection.close()
        return float(text.partition(f"\n{name}")[2].partition("\n")[0])

    def served_expiry(self) -> float:
        """Return when the certificate expires that a new connection gets."""
        connection = self.connect()
        assert isinstance(connection.sock, ssl.SSLSocket)
        certificate = connection.sock.getpeercert()
        assert certificate is not None
        connection.close()
        return ssl.cert_time_to_seconds(str(certificate["notAfter"]))

    def assert_lives(self, connection: http.client.HTTPSConnection) -> None:
        """Check that a connection is served."""
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        self.assertEqual((answer.status, bool(answer.read())), (200, True))

    def wait_for(self, words: str, times: int = 1) -> None:
        """Wait until the log has `words`."""
        deadline = time.monotonic() + 60
        while self.daemon.log.count(words) < times:
            self.assertLess(time.monotonic(), deadline, self.daemon.log)
            time.sleep(0.02)

    def test_renewed(self) -> None:
        """
        SIGHUP has new connections get a new certificate; open ones are kept.

        If it cannot be used, the old one is kept, and the reason is logged.
        """
        before = self.served_expiry()
        self.assertEqual(self.scraped_expiry(), before)
        connection = self.connect()
        self.assert_lives(connection)
        write_certificate(self.daemon.directory, hours=2)
        renewed = str(self.daemon.directory / "cert.pem")
        self.context = ssl.create_default_context(cafile=renewed)
        os.kill(self.daemon.pid, signal.SIGHUP)
        self.wait_for(self.reloaded)
        after = self.served_expiry()
        self.assertGreater(after, before + 3000)
        self.assert_lives(connection)
        # A worker that is replaced serves it to its end, and is scraped until then.
        connection.close()
        deadline = time.monotonic() + 60
        while self.scraped_expiry() != after:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        (self.daemon.directory / "key.pem").write_text("no key")
        os.kill(self.daemon.pid, signal.SIGHUP)
        self.wait_for("keeping the previous certificate: ")
        self.assertIn("no PEM private key in privateKey ", self.daemon.log)
        if self.options:
            self.wait_for(self.reloaded, 2)
        self.assertEqual(self.served_expiry(), after)
        self.daemon.stop()

    def wait_until_nobody_listens(self) -> None:
        """Wait until the daemon has begun to stop."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.daemon.port)):
                    return
            time.sleep(0.02)
        self.fail("the daemon still listens")


class LibraryTests(SynchronousTestCase):
    """Processes that do not need OpenSSL for TLS do not load it: it takes 12 MB."""

    def loading(self, port: str, *options: str) -> list[str]:
        """Return which processes of a daemon have loaded it, of those that it has."""
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        write_certificate(directory)
        daemon = Daemon(directory, ["--port", port, *options])
        self.addCleanup(daemon.kill)
        daemon.start()
        processes = {"first": [daemon.pid]}
        for role in ("writer", "worker") if "--workers=2" in options else ():
            processes[role] = daemon.children(role)
            self.assertNotEqual(processes[role], [])
        loading = [
            role
            for role, pids in processes.items()
            for pid in pids
            if "/cryptography/" in Path(f"/proc/{pid}/maps").read_text()
        ]
        daemon.stop()
        return loading

    def test_one_process(self) -> None:
        """A daemon of one process loads it for a port with TLS."""
        self.assertEqual(self.loading(ANY_PORT), [])
        self.assertEqual(self.loading(ENDPOINT), ["first"])

    def test_either_port(self) -> None:
        """It is loaded if only the metrics have TLS."""
        self.assertEqual(self.loading(ANY_PORT, "--metrics-port", ENDPOINT), ["first"])

    def test_workers(self) -> None:
        """With workers the first process, which checks files, and workers load it."""
        self.assertEqual(self.loading(ANY_PORT, "--workers=2"), [])
        loading = self.loading(ENDPOINT, "--workers=2")
        self.assertEqual(loading, ["first", "worker", "worker"])
