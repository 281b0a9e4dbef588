"""Daemons behind nginx and HAProxy, as contrib/ configures them."""

from __future__ import annotations

import atexit
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from functools import cache
from hashlib import sha256
from pathlib import Path
from pwd import getpwnam
from typing import TYPE_CHECKING

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests._programs import program
from tests.contrib._proxy import Proxy, haproxy, nginx
from tests.integration._daemon import ROOT, Daemon, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Base = SynchronousTestCase
else:
    Base = object

JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain"}


SPELLINGS = r"""
/metrics //metrics ///metrics /%6detrics /%6Detrics /metric%73 //%6detrics
/%6d%65%74%72%69%63%73 /metrics? /metrics?a=%zz /%6detrics?a /metrics#a
/metrics/ /metrics// /metrics/. /./metrics /x/../metrics /.//metrics
/%2e/metrics /x/%2e%2e/metrics /%2fmetrics /%2Fmetrics %2fmetrics /metrics%2f
/metrics%3f /metrics%23 /metrics%00 /metrics;a /metrics%20 /metrics%zz /%6detrics%zz
/metrics% /%256detrics /%u006detrics /METRICS /metrics\ \metrics /\metrics
"""
"""Paths of the metrics, or similar ones."""

_MENDED = frozenset(
    {"chunk-data-lf", "chunk-ext-nul", "chunk-size-lf", "chunk-trailer-lf"}
)
"""Bodies with sloppy framing, which the proxy frames correctly itself."""


def new_daemon(directory: Path) -> Daemon:
    """Return a daemon, not started, that trusts the proxy."""
    return Daemon(directory, ["--trusted-proxies=127.0.0.1", "--max-client-uploads=1"])


@cache
def shared(name: str, make: Callable[[Path, int], Proxy]) -> tuple[Daemon, Proxy]:
    """Return a daemon, and the proxy before it, that several tests of it share."""
    daemon = new_daemon(Path(f"before-{name}").resolve())
    atexit.register(daemon.kill)
    proxy = make(Path(f"before-{name}", "proxy").resolve(), daemon.start().port)
    atexit.register(proxy.stop)
    return daemon, proxy.start()


class Behind(Base):
    """Tests behind either proxy."""

    name: str
    """The name of the program."""
    make: Callable[[Path, int], Proxy]
    lenient: frozenset[str]
    """HTTP cases that the proxy handles itself; asciid never sees them."""

    def setUp(self) -> None:
        """Require the program."""
        program(self.name)

    def put_before(self, port: int) -> Proxy:
        """Start the proxy in front of the server on `port`."""
        proxy = self.make(Path(self.mktemp()).resolve(), port)
        self.addCleanup(proxy.stop)
        return proxy.start()

    def daemon(self) -> Daemon:
        """Start a daemon."""
        daemon = new_daemon(Path(self.mktemp()).resolve())
        self.addCleanup(daemon.kill)
        return daemon.start()

    def request(  # noqa: PLR0913 - all but three have a default
        self,
        proxy: Proxy,
        method: str,
        path: str,
        body: bytes | None = None,
        fields: Mapping[str, str] | None = None,
        *,
        source: str = "127.0.0.2",
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send a request from the address `source`; return the response."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", proxy.port, timeout=60, source_address=(source, 0)
        )
        self.addCleanup(connection.close)
        connection.request(method, path, body=body, headers=dict(fields or {}))
        response = connection.getresponse()
        return response.status, response.headers, response.read()

    def register(
        self, proxy: Proxy, image: str, source: str, **fields: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Register an image of one chunk."""
        name = sha256(image.encode()).hexdigest()
        spec = {"sha256": name, "size": len(image), "chunk_size": len(image)}
        body = json.dumps(spec).encode()
        return self.request(
            proxy, "POST", "/image", body, {**JSON, **fields}, source=source
        )

    def test_images(self) -> None:
        """Uploads and downloads pass, large ones too, and so do problem documents."""
        daemon = self.daemon()
        proxy = self.put_before(daemon.port)
        image = b"0123456789abcdef" * (1 << 18)
        path = f"/image/{sha256(image).hexdigest()}"
        self.assertEqual(self.request(proxy, "PUT", path, image, TEXT)[0], 201)
        status, _, body = self.request(proxy, "GET", path)
        self.assertEqual((status, body == image), (200, True))
        status, _, body = self.request(
            proxy, "GET", path, fields={"Range": "bytes=1048570-1048580"}
        )
        self.assertEqual((status, body), (206, image[1048570:1048581]))
        # The response precedes the body, which is never sent.
        length = {"Content-Length": str(65 << 20)}
        status, fields, body = self.request(
            proxy, "PUT", path, None, {**TEXT, **length}
        )
        self.assertEqual(status, 413, proxy.log)
        self.assertEqual(fields["Content-Type"], "application/problem+json")
        status, _, body = self.request(proxy, "GET", "/metrics")
        self.assertEqual((status, json.loads(body)["status"]), (404, 404))
        daemon.stop()

    def test_simulator(self) -> None:
        """The simulation passes through it."""
        daemon = Daemon(Path(self.mktemp()).resolve())
        self.addCleanup(daemon.kill)
        proxy = self.put_before(daemon.start().port)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "asciid"),
                *("simulate", "-files", "20"),
                *("-host", "127.0.0.1", "-port", str(proxy.port)),
            ],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertIn("SUCCESS!", done.stdout)
        daemon.stop()

    def test_http_cases(self) -> None:
        """
        The HTTP cases pass, save malformed requests that the proxy itself mends or
        answers.  None of those reaches asciid as it was.
        """
        with subprocess.Popen(
            [sys.executable, "-m", "tests.http.cases.server"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as server:
            assert server.stdout is not None
            assert server.stdin is not None
            try:
                proxy = self.put_before(int(server.stdout.readline()))
                report = Path(self.mktemp())
                runner = str(ROOT / "tests" / "http" / "cases" / "run_cases.py")
                done = subprocess.run(
                    [
                        *(sys.executable, runner, "127.0.0.1", str(proxy.port)),
                        *("-q", "-j", "32", "--json", str(report)),
                    ],
                    capture_output=True,
                    text=True,
                    timeout=120,
                    check=False,
                )
            finally:
                server.stdin.close()
        rows = json.loads(report.read_text())
        failed = {row["name"] for row in rows if not row["ok"]}
        self.assertEqual(failed - self.lenient, set(), done.stdout)
        self.assertGreater(len(rows), 80)

    def test_clients(self) -> None:
        """Clients are identified by their address, whatever fields they send."""
        _, proxy = shared(self.name, self.make)
        one, other = "127.0.0.2", "127.0.0.3"
        self.assertEqual(self.register(proxy, "a", one)[0], 201)
        self.assertEqual(self.register(proxy, "b", one)[0], 429)
        for field, value in (
            ("Forwarded", "for=192.0.2.1"),
            ("X-Forwarded-For", "192.0.2.1"),
        ):
            claim = {field: value}
            self.assertEqual(self.register(proxy, "b", one, **claim)[0], 429, field)
        self.assertEqual(self.register(proxy, "b", other)[0], 201)

    def test_inside(self) -> None:
        """The metrics stay inside, however their path is spelled."""
        daemon, proxy = shared(self.name, self.make)
        shown = 0
        for target in SPELLINGS.split():
            for host in ("", f"http://127.0.0.1:{proxy.port}"):
                shown += b"# HELP" in self.get(daemon.port, host + target)
                answer = self.get(proxy.port, host + target)
                self.assertNotIn(b"# HELP", answer, host + target)
                self.assertNotIn(b" 200 ", answer.partition(b"\r\n")[0], host + target)
        # Some are paths of the metrics.
        self.assertGreater(shown, 5)
        status, _, _ = self.request(proxy, "GET", "/livez")
        self.assertEqual(status, 200)

    def get(self, port: int, target: str) -> bytes:
        """Send a request unchanged, and return the whole response."""
        with socket.create_connection(("127.0.0.1", port), 30) as connection:
            request = f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode("latin-1"))
            answer = b""
            while data := connection.recv(65536):
                answer += data
        return answer

    def test_down(self) -> None:
        """While the daemon is down the response is a problem with Retry-After."""
        daemon = self.daemon()
        proxy = self.put_before(daemon.port)
        daemon.stop()
        status, fields, body = self.request(proxy, "GET", f"/image/{64 * '0'}")
        self.assertEqual((status, json.loads(body)["status"]), (503, 503))
        self.assertEqual(fields["Content-Type"], "application/problem+json")
        self.assertEqual(fields["Retry-After"], "1")


class NginxTests(Behind, SynchronousTestCase):
    """Behind nginx."""

    name = "nginx"
    make = staticmethod(nginx)
    lenient = _MENDED | {
        "chunk-trailer-bad",
        "hdr-name-8bit",  # the field is left out
        "hdr-no-colon",  # likewise
        "rl-no-version",  # gets an HTTP/0.9 response
        "rl-options-star",  # refused
    }

    def test_many_requests_of_a_client(self) -> None:
        """A client has at most 128 concurrent requests; others are served."""
        proxy = self.put_before(self.daemon().port)
        head = b"PUT /image/%b HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
        for number in range(128):
            connection = socket.create_connection(
                ("127.0.0.1", proxy.port), 60, source_address=("127.0.0.2", 0)
            )
            self.addCleanup(connection.close)
            connection.sendall(head % (b"%064x" % number))
        deadline = time.monotonic() + 30
        while (answer := self.request(proxy, "GET", "/livez"))[0] != 429:
            self.assertLess(time.monotonic(), deadline)
        self.assertEqual(answer[1]["Content-Type"], "application/problem+json")
        self.assertEqual(answer[1]["Retry-After"], "1")
        self.assertEqual(json.loads(answer[2])["status"], 429)
        status, _, _ = self.request(proxy, "GET", "/livez", source="127.0.0.3")
        self.assertEqual(status, 200)


class HAProxyTests(Behind, SynchronousTestCase):
    """Behind HAProxy."""

    name = "haproxy"
    make = staticmethod(haproxy)
    lenient = _MENDED | {
        "rl-http2-version",  # taken for HTTP/1.1
        "te-gzip-chunked",  # refused with 422
    }

    def test_privileges(self) -> None:
        """It drops privileges, is in a chroot, and logs requests."""
        _, proxy = shared(self.name, self.make)
        self.assertEqual(self.request(proxy, "GET", "/livez")[0], 200)
        # It logs a request after the response was sent.
        deadline = time.monotonic() + 30
        while "GET /livez HTTP/1.1" not in proxy.log:
            self.assertLess(time.monotonic(), deadline, proxy.log)
            time.sleep(0.05)
        if os.geteuid():
            message = "only root can start HAProxy as another user"
            raise SkipTest(message)
        process = Path(f"/proc/{proxy.pid}")
        (uids,) = re.findall(
            r"^Uid:\t(.*)$", (process / "status").read_text(), re.MULTILINE
        )
        self.assertEqual(set(uids.split()), {str(getpwnam("haproxy").pw_uid)})
        self.assertEqual((process / "root").readlink(), Path("/var/lib/haproxy"))
