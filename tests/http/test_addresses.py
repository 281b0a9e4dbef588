"""The addresses of clients, as a handler sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from klein import Klein
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from asciid.http._connection import unmapped
from tests.http._support import Site, get

if TYPE_CHECKING:
    from asciid.http._request import Request


class AddressApp:
    """Answers with the client's address."""

    app = Klein()

    @app.route("/")
    def show(self, request: Request) -> bytes:
        """Return it."""
        return str(request.getClientIP()).encode()


class AddressTests(SynchronousTestCase):
    """A dual-stack socket."""

    def test_client(self) -> None:
        """A client of IPv4 has its own address, one of IPv6 as well."""
        for host, shown in (
            ("::ffff:192.0.2.7", b"192.0.2.7"),
            ("2001:db8::7", b"2001:db8::7"),
            # Not an address of IPv4, though it begins like one.
            ("::ffff:0:c000:207", b"::ffff:0:c000:207"),
        ):
            wire = Site(AddressApp().app).connect_from(IPv6Address("TCP", host, 1024))
            (answer,) = wire.send(get(b"/")).answers()
            self.assertEqual(answer.body, shown)

    def test_port(self) -> None:
        """The port stays, and so does an address of any other kind."""
        self.assertEqual(
            unmapped(IPv6Address("TCP", "::ffff:192.0.2.7", 1024)),
            IPv4Address("TCP", "192.0.2.7", 1024),
        )
        local = UNIXAddress("/run/x")
        self.assertIs(unmapped(local), local)
