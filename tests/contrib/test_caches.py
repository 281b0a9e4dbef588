"""A daemon behind caches: Varnish, Squid and nginx."""

from __future__ import annotations

import atexit
import gzip
import http.client
import random
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import zstandard
from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from tests._programs import program
from tests.contrib._proxy import nginx_cache, squid, varnish
from tests.integration._daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.contrib._proxy import Proxy

    Base = SynchronousTestCase
else:
    Base = object

TOKEN = "example-token"
DECODERS: dict[str | None, Callable[[bytes], bytes]] = {
    None: bytes,
    "gzip": gzip.decompress,
    "zstd": zstandard.ZstdDecompressor().decompress,
}
ACCEPTED = ("identity", "gzip", "zstd", "gzip, zstd", "gzip, deflate, br", None)


@frozen
class Answer:
    """A received response."""

    status: int
    fields: http.client.HTTPMessage
    body: bytes

    @property
    def coding(self) -> str | None:
        """The content coding."""
        return self.fields["Content-Encoding"]

    @property
    def decoded(self) -> bytes:
        """The body without its content coding."""
        return DECODERS[self.coding](self.body)

    @property
    def etag(self) -> str:
        """The entity tag."""
        return str(self.fields["ETag"])


@cache
def shared(name: str, make: Callable[[Path, int], Proxy]) -> Proxy:
    """Return a cache in front of a daemon, which all tests of this process share."""
    directory = Path(f"behind-{name}").resolve()
    directory.mkdir()
    tokens = directory / "tokens"
    tokens.write_text(TOKEN + "\n")
    tokens.chmod(0o600)
    daemon = Daemon(directory / "daemon", [f"--write-token-file={tokens}"])
    atexit.register(daemon.kill)
    proxy = make(directory / "proxy", daemon.start().port)
    atexit.register(proxy.stop)
    return proxy.start()


class Behind(Base):
    """Tests behind any cache, of images that no other test has."""

    name: str
    """The name of the program."""
    make: Callable[[Path, int], Proxy]

    def setUp(self) -> None:
        """Connect to the cache."""
        program(self.name)
        port = shared(self.name, self.make).port
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.addCleanup(self.connection.close)

    def request(
        self, method: str, path: str, body: bytes | None = None, **fields: str | None
    ) -> Answer:
        """Send a request with exactly these fields; return the response."""
        connection = self.connection
        connection.putrequest(method, path, skip_accept_encoding=True)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
            connection.putheader("Authorization", f"Bearer {TOKEN}")
        for name, value in fields.items():
            if value is not None:
                connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(body)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    def upload(self) -> tuple[str, bytes]:
        """Upload a new image that is sent in codings; return its path."""
        lines = (f"{random.random():.5f} /\\_/\\ ( o.o )\n" for _ in range(500))
        art = "".join(lines).encode()
        path = f"/image/{sha256(art).hexdigest()}"
        self.assertEqual(self.request("PUT", path, art).status, 201)
        return path, art

    def test_every_coding(self) -> None:
        """
        Each client gets the image in a form that it accepts, with the tag of that
        form, whatever form was cached before, and a 304 if it has that form.
        """
        for first in ACCEPTED:
            path, art = self.upload()
            name = path.rpartition("/")[2]
            for accept in (first, *ACCEPTED, first):
                answer = self.request("GET", path, Accept_Encoding=accept)
                case = self.name, first, accept, answer.fields.items()
                self.assertEqual(answer.status, 200, case)
                self.assertEqual(answer.decoded, art, case)
                if answer.coding is not None:
                    self.assertIn(answer.coding, accept or "", case)
                    self.assertEqual(answer.etag, f'"{name}-{answer.coding}"', case)
                elif not answer.etag.startswith("W/"):  # decoded by the cache
                    self.assertEqual(answer.etag, f'"{name}"', case)
                self.assertIn("Accept-Encoding", answer.fields["Vary"], case)
                head = self.request("HEAD", path, Accept_Encoding=accept)
                self.assertEqual((head.status, head.body), (200, b""), case)

        self.check_not_modified()

    def check_not_modified(self) -> None:
        """Revalidate with the tag of the response, also bypassing the cache."""
        path, art = self.upload()
        for accept in ACCEPTED:
            answer = self.request("GET", path, Accept_Encoding=accept)
            for control in (None, "max-age=0", "no-cache"):
                again = self.request(
                    "GET",
                    path,
                    Accept_Encoding=accept,
                    If_None_Match=answer.etag,
                    Cache_Control=control,
                )
                case = self.name, accept, control, again.fields.items()
                self.assertEqual((again.status, again.body), (304, b""), case)
                if again.fields["ETag"] is not None:  # Squid omits it
                    tags = [one.etag.removeprefix("W/") for one in (again, answer)]
                    self.assertEqual(tags[0], tags[1], case)
                full = self.request(
                    "GET", path, Accept_Encoding=accept, Cache_Control=control
                )
                self.assertEqual((full.status, full.decoded), (200, art), case)

    def test_resuming(self) -> None:
        """
        A download resumes where it was cut off, as docs/protocol.md describes: with
        Accept-Encoding: identity and If-Range.  Whatever else the cache holds, the
        whole is the image.  Parts that other clients may join are the image, too.
        """
        for held in ACCEPTED:
            path, art = self.upload()
            self.request("GET", path, Accept_Encoding=held)
            whole = self.request("GET", path, Accept_Encoding="identity")
            self.assertIsNone(whole.coding)
            for condition in (None, whole.etag, whole.fields["Last-Modified"]):
                rest = self.request(
                    "GET",
                    path,
                    Accept_Encoding="identity",
                    Range="bytes=700-",
                    If_Range=condition,
                )
                case = self.name, held, condition, rest.fields.items()
                self.assertIsNone(rest.coding, case)
                self.assertIn(rest.status, (200, 206), case)
                start = art[:700] if rest.status == 206 else b""
                self.assertEqual(start + rest.body, art, case)

        self.check_coded_parts()

    def check_coded_parts(self) -> None:
        """Join parts with the same tag and coding."""
        for accept in ("gzip", "zstd", "gzip, zstd"):
            path, art = self.upload()
            whole = self.request("GET", path, Accept_Encoding=accept)
            rest = self.request(
                "GET",
                path,
                Accept_Encoding=accept,
                Range="bytes=100-",
                If_Range=whole.etag,
            )
            case = self.name, accept, rest.status, rest.fields.items()
            if rest.status == 206:
                self.assertEqual((rest.etag, rest.coding), (whole.etag, whole.coding))
                joined = whole.body[:100] + rest.body
                self.assertEqual(DECODERS[whole.coding](joined), art, case)
            else:
                self.assertEqual((rest.status, rest.decoded), (200, art), case)
            other = self.request(
                "GET",
                path,
                Accept_Encoding="identity",
                Range="bytes=100-",
                If_Range=whole.etag,
            )
            case = self.name, accept, other.status, other.fields.items()
            if whole.coding is not None:
                self.assertEqual((other.status, other.decoded), (200, art), case)

    def test_deleting(self) -> None:
        """
        A 404 is not cached: an upload is visible at once, and after a DELETE
        a cache has the image or nothing, and never another one.
        """
        path, art = self.upload()
        missing = f"/image/{sha256(art + art).hexdigest()}"
        for _ in range(2):
            self.assertEqual(self.request("GET", missing).status, 404)
        self.assertEqual(self.request("PUT", missing, art + art).status, 201)
        self.assertEqual(self.request("GET", missing).decoded, art + art)
        for accept in ACCEPTED:
            self.request("GET", path, Accept_Encoding=accept)
        self.assertEqual(self.request("DELETE", path, b"").status, 204)
        for accept in ACCEPTED:
            answer = self.request("GET", path, Accept_Encoding=accept)
            if answer.status == 200:
                self.assertEqual(answer.decoded, art)
            else:
                self.assertEqual(answer.status, 404)
        self.assertEqual(self.request("PUT", path, art).status, 201)
        for accept in ACCEPTED:
            answer = self.request("GET", path, Accept_Encoding=accept)
            self.assertEqual((answer.status, answer.decoded), (200, art))


class VarnishTests(Behind, SynchronousTestCase):
    """Behind Varnish."""

    name = "varnishd"
    make = staticmethod(varnish)


class SquidTests(Behind, SynchronousTestCase):
    """Behind Squid."""

    name = "squid"
    make = staticmethod(squid)


class NginxTests(Behind, SynchronousTestCase):
    """Behind nginx."""

    name = "nginx"
    make = staticmethod(nginx_cache)
