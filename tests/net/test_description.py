"""Tests of asciid.net.description."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.endpoints import quoteStringArgument
from twisted.trial.unittest import SynchronousTestCase

from asciid.net.description import NUMBER, Description

TEXTS = st.text(min_size=1)


class DescriptionTests(SynchronousTestCase):
    """Endpoint descriptions are read as Twisted reads them."""

    def test_number(self) -> None:
        """A port number is a kind of its own."""
        parsed = Description.parse("4444")
        self.assertEqual((parsed.kind, parsed.values), (NUMBER, {"port": "4444"}))
        self.assertFalse(parsed.is_plugin)

    def test_positions(self) -> None:
        """Arguments without a name have the places that they have in Twisted."""
        for text, values in (
            (
                "tcp:80:127.0.0.1:7",
                {"port": "80", "interface": "127.0.0.1", "backlog": "7"},
            ),
            (
                r"tcp6:80:7:\:\:1",
                {"port": "80", "interface": "::1", "backlog": "7"},
            ),
            ("tcp:80::7", {"port": "80", "interface": "", "backlog": "7"}),
            ("unix:/x:600", {"address": "/x", "mode": "600"}),
            ("systemd:INET:0", {"domain": "INET", "index": "0"}),
            ("ssl:443:a.pem", {"port": "443", "privateKey": "a.pem"}),
        ):
            self.assertEqual(Description.parse(text).values, values)

    @given(TEXTS, TEXTS)
    def test_any_value(self, address: str, other: str) -> None:
        """A value may contain any character, also an equals sign."""
        address, other = (quoteStringArgument(text) for text in (address, other))
        parsed = Description.parse(f"unix:address={address}:mode=600")
        changed = parsed.with_values("unix", {"address": other})
        self.assertEqual(Description.parse(changed.text).values, {"address": other})

    def test_escaped(self) -> None:
        """An equals sign that is escaped ends no name."""
        parsed = Description.parse(r"unix:a\=b\:c")
        self.assertEqual(parsed.values, {"address": "a=b:c"})

    def test_proxied(self) -> None:
        """The PROXY protocol may precede any endpoint, and is kept by changes."""
        parsed = Description.parse("haproxy:systemd:INET:0")
        self.assertEqual((parsed.kind, parsed.is_proxied), ("systemd", True))
        changed = parsed.with_values("tcp", {"port": "0"})
        self.assertEqual(changed.text, "haproxy:tcp:port=0")

    def test_plugin(self) -> None:
        """Twisted opens the endpoints of plugins."""
        for text in ("tls:certificates:tcp:443", "haproxy:tls:x:tcp:443", "onion:80"):
            self.assertTrue(Description.parse(text).is_plugin, text)
