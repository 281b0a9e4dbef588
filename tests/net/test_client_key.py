"""Tests of asciid.net.client_key."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.net.client_key import client_key


class ClientKeyTests(SynchronousTestCase):
    """Which addresses count as one client."""

    def test_ipv4(self) -> None:
        """An IPv4 address is a client, also in the form of an IPv6 address."""
        for address in ("192.0.2.1", "::ffff:192.0.2.1", "::FFFF:c000:201"):
            self.assertEqual(client_key(address), "192.0.2.1")

    def test_no_address(self) -> None:
        """Any other text is its own key."""
        for text in ("local", "", "a:b", "unknown"):
            self.assertEqual(client_key(text), text)

    def test_zone(self) -> None:
        """The zone of an address is ignored."""
        self.assertEqual(client_key("fe80::1%eth0"), client_key("fe80::2"))

    @given(st.ip_addresses(v=6), st.ip_addresses(v=6))
    def test_ipv6(self, one: IPv6Address, other: IPv6Address) -> None:
        """Two IPv6 addresses are one client exactly if they are in one /64."""
        for first, second in ((one, other), (one, IPv6Address(int(one) ^ 1))):
            if first.ipv4_mapped or second.ipv4_mapped:
                continue
            same = int(first) >> 64 == int(second) >> 64
            equal = client_key(str(first)) == client_key(str(second))
            self.assertEqual(equal, same)

    @given(st.ip_addresses(v=4))
    def test_any_ipv4(self, address: IPv4Address) -> None:
        """An IPv4 address is its own key."""
        self.assertEqual(client_key(str(address)), str(address))
        self.assertEqual(client_key(f"::ffff:{address}"), str(address))
