"""The address of the service in links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from asciid.api._public_address import PublicAddress
from asciid.api._refusals import MalformedRequestError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

HASH = "3c276f8da12de48942a0ee9a17e3b514b123abebe1f551417cbd7cccf2f6bd24"


class FakeRequest:
    """The parts of a request on which the address depends."""

    def __init__(
        self,
        host: bytes | None = b"asciid.test:4444",
        *,
        secure: bool = False,
        local: object = None,
    ) -> None:
        self._host = host
        self._secure = secure
        self._local = local

    def getHeader(self, key: bytes) -> bytes | None:
        """Return Host."""
        return {b"host": self._host}[key]

    def isSecure(self) -> bool:
        """Return whether the connection is encrypted."""
        return self._secure

    def getHost(self) -> object:
        """Return the local address."""
        return self._local


def request(*args: Any, **keywords: Any) -> Any:  # noqa: ANN401 - a fake
    """Return a `FakeRequest` in the place of a request."""
    return FakeRequest(*args, **keywords)


class PublicAddressTests(SynchronousTestCase):
    """With and without a public URL."""

    def setUp(self) -> None:
        """Make one with and one without a URL."""
        self.fixed = PublicAddress("https://art.example")
        self.by_host = PublicAddress()

    def test_public_url(self) -> None:
        """With a public URL no Host changes a link, and caches may keep it."""
        for host in (b"evil.example", b"a'b", None):
            base = self.fixed.base_url(request(host))
            self.assertEqual(base, "https://art.example")
        self.assertEqual(self.fixed.cache_control(b"max-age=60"), b"max-age=60")

    def test_host(self) -> None:
        """Without one a link has the Host, in lower case and without a default port."""
        for host, secure, base in [
            (b"Art.Example", False, "http://art.example"),
            (b"art.example:80", False, "http://art.example"),
            (b"art.example:", False, "http://art.example"),
            (b"art.example:80", True, "https://art.example:80"),
            (b"art.example:443", True, "https://art.example"),
            (b"[::1]:4444", False, "http://[::1]:4444"),
        ]:
            asked = request(host, secure=secure)
            self.assertEqual(self.by_host.base_url(asked), base, host)
        self.assertEqual(self.by_host.cache_control(b"max-age=60"), b"no-store")

    def test_without_host(self) -> None:
        """A client of HTTP/1.0 without Host gets links to the address it reached."""
        locals_: list[tuple[IAddress, str]] = [
            (IPv4Address("TCP", "192.0.2.1", 4444), "http://192.0.2.1:4444"),
            (IPv4Address("TCP", "192.0.2.1", 80), "http://192.0.2.1"),
            (IPv6Address("TCP", "2001:db8::1", 4444), "http://[2001:db8::1]:4444"),
            (UNIXAddress(b"/run/asciid.sock"), "http://localhost"),
        ]
        for local, base in locals_:
            asked = request(None, local=local)
            self.assertEqual(self.by_host.base_url(asked), base)

    def test_odd_host(self) -> None:
        """A Host that HTTP allows, and no link should have, is refused."""
        for host in (b"a'b", b"a;b", b"$(id)", b"a%41", b"a b", b"x\xff", b"a:999999"):
            with self.assertRaises(MalformedRequestError):
                self.by_host.base_url(request(host))

    def test_own_urls(self) -> None:
        """Only URLs of the service itself have a path."""
        for url, path in [
            ("https://art.example/i/3c276f8da12d", "/i/3c276f8da12d"),
            ("https://ART.example:443/i/x?y#z", "/i/x?y#z"),
            ("https://art.example", ""),
            ("http://art.example/i/x", None),
            ("https://art.example.evil.example/i/x", None),
            ("https://art.example@evil.example/i/x", None),
            ("https://evil.example/https://art.example/i/x", None),
            ("https://art.example\\@evil.example/i/x", None),
            ("https://art.example:444/i/x", None),
            ("//art.example/i/x", None),
            ("javascript:alert(1)", None),
            ("/i/x", None),
            ("", None),
        ]:
            self.assertEqual(self.fixed.path_of(request(), url), path, url)
        asked = request(b"127.0.0.1:4444")
        self.assertEqual(self.by_host.path_of(asked, "http://127.0.0.1:4444/i"), "/i")

    def test_own_origins(self) -> None:
        """The public URL and the Host, with either scheme, are origins of its own."""
        for origin, own in [
            (b"https://art.example", True),
            (b"http://asciid.test:4444", True),
            (b"https://asciid.test:4444", True),
            (b"http://art.example", False),
            (b"https://art.example:444", False),
            (b"http://asciid.test", False),
            (b"https://art.example/", False),
            (b"https://sub.art.example", False),
            (b"https://art.example.evil.example", False),
            (b"null", False),
            (b"", False),
            (b"chrome-extension://art.example", False),
            (b"https://art.example, https://evil.example", False),
        ]:
            asked = self.fixed.is_own_origin(request(), origin)
            self.assertEqual(asked, own, origin)
        self.assertFalse(self.fixed.is_own_origin(request(b"a'b"), b"http://a'b"))
