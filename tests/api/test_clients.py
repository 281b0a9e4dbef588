"""Tests of asciid.api._clients."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from asciid.api._clients import ClientAddresses

if TYPE_CHECKING:
    from asciid.api._request_interface import Request


class FakeRequest:
    """A request from a peer, with header fields."""

    def __init__(self, peer: str | None, **fields: str | list[str]) -> None:
        self.peer = peer
        self.requestHeaders = Headers()
        for name, value in fields.items():
            values = [value] if isinstance(value, str) else value
            self.requestHeaders.setRawHeaders(name.replace("_", "-"), values)

    def getClientIP(self) -> str | None:
        """Return the peer."""
        return self.peer


class ClientAddressesTests(SynchronousTestCase):
    """The client address of a request."""

    trusting = ClientAddresses([ip_network("10.0.0.0/8"), ip_network("::1/128")])

    def of(
        self,
        peer: str | None,
        clients: ClientAddresses | None = None,
        **fields: str | list[str],
    ) -> str:
        """Return the client of a request with these fields."""
        request = cast("Request", FakeRequest(peer, **fields))
        return (clients or self.trusting).of(request)

    def test_nobody_trusted(self) -> None:
        """Without trusted proxies the peer is the client, whatever the fields."""
        clients = ClientAddresses()
        self.assertEqual(
            self.of("10.0.0.1", clients, X_Forwarded_For="192.0.2.1"), "10.0.0.1"
        )
        self.assertEqual(self.of(None, clients), "local")

    def test_is_proxy(self) -> None:
        """Trusted proxies are known by their address, however that is written."""
        for host in ("10.0.0.1", "::ffff:10.0.0.1", "::1"):
            self.assertTrue(self.trusting.is_proxy(host))
            self.assertFalse(ClientAddresses().is_proxy(host))
        for host in ("192.0.2.1", "::2", "local"):
            self.assertFalse(self.trusting.is_proxy(host))

    def test_untrusted_peer(self) -> None:
        """Fields of an untrusted peer are ignored."""
        self.assertEqual(self.of("192.0.2.9", Forwarded="for=192.0.2.1"), "192.0.2.9")

    def test_forwarded(self) -> None:
        """A trusted proxy is believed (RFC 7239)."""
        for value, client in (
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=192.0.2.1;proto=http;by=10.0.0.1", "192.0.2.1"),
            ('proto=http; for="192.0.2.1:4711"', "192.0.2.1"),
            ('for="[2001:db8::1]"', "2001:db8::1"),
            ('for="[2001:DB8::1]:4711"', "2001:db8::1"),
            ('for="[::ffff:192.0.2.1]"', "192.0.2.1"),
        ):
            self.assertEqual(self.of("10.0.0.1", Forwarded=value), client)

    def test_zone(self) -> None:
        """Zones are ignored: with arbitrary text one client would count as many."""
        for zone in ("eth0", '" 200 - "evil', "\x85"):
            said = f"fe80::1%{zone}"
            self.assertEqual(self.of("::1", X_Forwarded_For=said), "fe80::1")
        said = 'for="[fe80::1%eth0]:4711"'
        self.assertEqual(self.of("::1", Forwarded=said), "fe80::1")
        self.assertEqual(self.of("::1%lo", Forwarded="for=192.0.2.1"), "192.0.2.1")

    def test_x_forwarded_for(self) -> None:
        """Where Forwarded is missing, X-Forwarded-For is read."""
        for peer in ("10.0.0.1", "::1", "::ffff:10.0.0.1", None):
            self.assertEqual(self.of(peer, X_Forwarded_For="192.0.2.1"), "192.0.2.1")
        self.assertEqual(
            self.of("10.0.0.1", Forwarded="for=192.0.2.1", X_Forwarded_For="192.0.2.2"),
            "192.0.2.1",
        )

    def test_last_untrusted_hop(self) -> None:
        """Hops before the last untrusted one are ignored."""
        hops = "203.0.113.7, 192.0.2.1, 10.0.0.2"
        self.assertEqual(self.of("10.0.0.1", X_Forwarded_For=hops), "192.0.2.1")
        lines = ["for=203.0.113.7", "for=192.0.2.1, for=10.0.0.2"]
        self.assertEqual(self.of("10.0.0.1", Forwarded=lines), "192.0.2.1")

    def test_made_up_to_hide(self) -> None:
        """A client cannot hide the hops that proxies append."""
        for sent in (
            'for="x',
            'for=203.0.113.7;by="',
            'for="203.0.113.7, for=203.0.113.8',
            "for=203.0.113.7,",
            '"',
            ",;=",
        ):
            for added, client in (
                ('for="[2001:db8::1]:4711"', "2001:db8::1"),
                ('for=192.0.2.1;by="_a,b"', "192.0.2.1"),
                # An element without "for" ends the search.
                ("proto=http", "10.0.0.1"),
            ):
                for value in ([sent, added], f"{sent}, {added}", f"{sent},{added},"):
                    self.assertEqual(self.of("10.0.0.1", Forwarded=value), client)

    def test_made_up_within_a_string(self) -> None:
        """Quoted text of a proxy, such as a field of the client, is ignored."""
        for by in ("x;for=203.0.113.7", ";for=203.0.113.7", "for=203.0.113.7"):
            for value in (
                f'host="{by}";for=192.0.2.1',
                f'for=192.0.2.1;host="{by}"',
                f'host="{by}";for="192.0.2.1"',
            ):
                self.assertEqual(self.of("10.0.0.1", Forwarded=value), "192.0.2.1")
            only = f'host="{by}"'
            self.assertEqual(self.of("10.0.0.1", Forwarded=only), "10.0.0.1")

    def test_all_hops_trusted(self) -> None:
        """If every hop is trusted, the first one is the client."""
        self.assertEqual(
            self.of("10.0.0.1", X_Forwarded_For="10.0.0.3, 10.0.0.2"), "10.0.0.3"
        )
        self.assertEqual(self.of("10.0.0.1"), "10.0.0.1")
        self.assertEqual(self.of(None), "local")

    def test_many_hops(self) -> None:
        """Of a long list only the nearest 16 hops are read."""
        hops = [f"10.0.0.{number}" for number in range(100)]
        lists = (", ".join(hops), ", ".join(f"for={hop}" for hop in hops))
        self.assertEqual(self.of("10.1.1.1", X_Forwarded_For=lists[0]), "10.0.0.84")
        self.assertEqual(self.of("10.1.1.1", Forwarded=lists[1]), "10.0.0.84")
        self.assertEqual(
            self.of("10.1.1.1", X_Forwarded_For="192.0.2.1" + ",10.0.0.1" * 15),
            "192.0.2.1",
        )

    def test_long_element(self) -> None:
        """Too long elements of Forwarded are ignored."""
        for padding, client in ((b"a" * 900, "192.0.2.1"), (b"a" * 1_100, "10.0.0.1")):
            said = f"x={padding.decode()};for=192.0.2.1"
            self.assertEqual(self.of("10.0.0.1", Forwarded=said), client)

    def test_nonsense(self) -> None:
        """Hops beyond a malformed address are ignored."""
        for value in ("unknown", "_hidden", "", "192.0.2.1.5", "192.0.2.1, unknown"):
            self.assertEqual(self.of("10.0.0.1", X_Forwarded_For=value), "10.0.0.1")

    @given(st.text(st.characters(codec="latin-1", exclude_categories=["Cc"])))
    def test_anything(self, text: str) -> None:
        """There is always a client, whatever a proxy sends."""
        self.assertTrue(self.of("10.0.0.1", Forwarded=text))
        self.assertTrue(self.of("10.0.0.1", X_Forwarded_For=text))
