"""Tests of asciid.net.openssl."""

from __future__ import annotations

import sys
from types import ModuleType
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from asciid.net.openssl import leave_out_openssl


class LeaveOutTests(SynchronousTestCase):
    """Where OpenSSL cannot be imported any more."""

    def left_out(self, *endpoints: str) -> bool:
        """Return whether it cannot be, if these are the endpoints."""
        with patch.dict(sys.modules):
            sys.modules.pop("OpenSSL", None)
            leave_out_openssl(endpoints)
            return "OpenSSL" in sys.modules

    def test_plain(self) -> None:
        """Endpoints without TLS do not need it, also with the PROXY protocol."""
        for endpoint in (
            "4444",
            "tcp:80:interface=127.0.0.1",
            r"tcp6:80:interface=\:\:1",
            "unix:/run/asciid.sock",
            "systemd:INET:0",
            "haproxy:tcp:80",
        ):
            self.assertTrue(self.left_out(endpoint), endpoint)
        self.assertTrue(self.left_out("4444", "tcp:80"))
        self.assertTrue(self.left_out())

    def test_tls(self) -> None:
        """One endpoint with TLS, or of a plugin that may have it, is enough."""
        for endpoint in ("ssl:443", "haproxy:ssl:443", "tls:/keys:tcp:443", "le:443"):
            self.assertFalse(self.left_out(endpoint), endpoint)
            self.assertFalse(self.left_out("4444", endpoint))

    def test_invalid(self) -> None:
        """What is no endpoint is left to the check of the settings."""
        self.assertFalse(self.left_out(""))

    def test_without_effect(self) -> None:
        """It is not removed once it is imported."""
        module = ModuleType("OpenSSL")
        with patch.dict(sys.modules, {"OpenSSL": module}):
            leave_out_openssl(["4444"])
            self.assertIs(sys.modules["OpenSSL"], module)

    def test_import(self) -> None:
        """An import fails as if it were not installed."""
        with patch.dict(sys.modules):
            sys.modules.pop("OpenSSL", None)
            leave_out_openssl(["4444"])
            with self.assertRaises(ModuleNotFoundError):
                __import__("OpenSSL.SSL")
