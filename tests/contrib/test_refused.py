"""
The answers to bodies that are refused early, as Go's client gets them.

``ASCIID_REFUSED`` is the number of requests of each kind, 20 if not set.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from tests._programs import program
from tests.contrib._proxy import haproxy, nginx, varnish
from tests.integration._certificate import write_certificate
from tests.integration._daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.contrib._proxy import Proxy

COUNT = int(os.environ.get("ASCIID_REFUSED", "20"))
SIZE = 8 << 20
PATH = "/image/" + 64 * "0"
TOKEN = "example-token"
TOKEN_OPTION = ("-token", TOKEN)
REFUSALS: dict[int, Sequence[str]] = {
    401: (),
    413: ("-size", str(SIZE + 1), *TOKEN_OPTION),
    415: ("-type", "multipart/form-data; boundary=x", *TOKEN_OPTION),
}
"""Status -> options of the client for it."""


@cache
def build_client() -> str:
    """Return the path of the client, which all tests of this process share."""
    directory = Path("refused-client").resolve()
    directory.mkdir()
    client = str(directory / "refused")
    subprocess.run(
        [
            *(program("go"), "build", "-o", client),
            str(Path(__file__).parent / "refused.go"),
        ],
        check=True,
        cwd=directory,
        env={**os.environ, "GOPROXY": "off", "GO111MODULE": "on"},
        timeout=300,
    )
    return client


def new_daemon(directory: Path, *options: str) -> Daemon:
    """Return a daemon, not started, that requires tokens and accepts 8 MiB."""
    directory.mkdir()
    tokens = directory / "tokens"
    tokens.write_text(TOKEN + "\n")
    tokens.chmod(0o600)
    return Daemon(
        directory, [f"--write-token-file={tokens}", "--max-image-size=8M", *options]
    )


@cache
def shared_daemon() -> Daemon:
    """Return a daemon that the tests of proxies share."""
    daemon = new_daemon(Path("refusing-daemon").resolve())
    atexit.register(daemon.kill)
    return daemon.start()


class RefusedTests(SynchronousTestCase):
    """Large bodies that are refused before they are read."""

    def setUp(self) -> None:
        """Build the client, unless another test has."""
        self.client = build_client()
        self.directory = Path(self.mktemp()).resolve()

    def daemon(self, *options: str) -> Daemon:
        """Start a daemon."""
        daemon = new_daemon(self.directory, *options)
        self.addCleanup(daemon.kill)
        return daemon.start()

    def assert_answered(self, url: str, *options: str) -> None:
        """Each request gets the status of its refusal, and no response is lost."""
        for status, refusal in REFUSALS.items():
            done = subprocess.run(
                [
                    *(self.client, "-url", url + PATH, "-count", str(COUNT)),
                    *("-size", str(SIZE), *refusal, *options),
                ],
                capture_output=True,
                check=True,
                timeout=600,
            )
            report = json.loads(done.stdout)
            self.assertEqual(report, {"answers": {str(status): COUNT}, "errors": []})

    def behind(self, make: Callable[[Path, int], Proxy]) -> None:
        """Go through a proxy."""
        proxy = make(self.directory, shared_daemon().port)
        self.addCleanup(proxy.stop)
        self.assert_answered(proxy.start().url)

    def test_direct(self) -> None:
        """The daemon's own answers arrive, also where the bodies have no length."""
        daemon = self.daemon()
        self.assert_answered(daemon.url)
        self.assert_answered(daemon.url, "-chunked")
        daemon.stop()

    def test_tls(self) -> None:
        """They arrive over TLS."""
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        write_certificate(directory)
        key, certificate = directory / "key.pem", directory / "cert.pem"
        endpoint = "ssl:0:interface=127.0.0.1:privateKey={}:certKey={}"
        port = endpoint.format(key, certificate)
        daemon = self.daemon("--port", port)
        self.assert_answered(
            f"https://127.0.0.1:{daemon.port}", "-authority", str(certificate)
        )

    def test_nginx(self) -> None:
        """They arrive through nginx, as contrib/ configures it."""
        self.behind(nginx)

    def test_haproxy(self) -> None:
        """They arrive through HAProxy, as contrib/ configures it."""
        self.behind(haproxy)

    def test_varnish(self) -> None:
        """They arrive through Varnish."""
        self.behind(varnish)
