"""How many connections the file descriptors allow."""

from __future__ import annotations

import errno
import resource
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from asciid.config.settings import Settings
from asciid.daemon import _process_limits, host
from asciid.runtime.descriptors import connection_limits, descriptor_limit, raise_limit


class LimitTests(SynchronousTestCase):
    """The limit of the process."""

    def test_raised(self) -> None:
        """The soft limit becomes the hard one."""
        asked: list[tuple[int, tuple[int, int]]] = []
        self.patch(resource, "getrlimit", lambda _: (256, 4096))
        self.patch(resource, "setrlimit", lambda *limits: asked.append(limits))
        raise_limit()
        self.assertEqual(asked, [(resource.RLIMIT_NOFILE, (4096, 4096))])

    def test_forbidden(self) -> None:
        """Where both system calls are forbidden, the limit is read and not changed."""

        def forbidden(*_: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        expected = descriptor_limit()
        self.patch(resource, "getrlimit", forbidden)
        self.patch(resource, "setrlimit", forbidden)
        raise_limit()
        self.assertEqual(descriptor_limit(), expected)

    def test_unlimited(self) -> None:
        """No limit is one that no process reaches."""
        infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        self.patch(resource, "getrlimit", lambda _: infinite)
        self.assertGreater(descriptor_limit(), 2**30)


class ConnectionTests(SynchronousTestCase):
    """The limits of connections."""

    @given(st.integers(1, 10**9), st.integers(200, 2**31), st.booleans())
    def test_any(self, wanted: int, limit: int, metrics: bool) -> None:  # noqa: FBT001 - hypothesis'
        """Served and lingering connections fit below accepted ones, and these below
        the limit.
        """
        limits = connection_limits(wanted, limit, metrics=metrics)
        self.assertTrue(1 <= limits.served <= wanted)
        self.assertLess(limits.accepted, limit)
        if limit > 400:
            self.assertLessEqual(limits.served + limits.lingering, limits.accepted)

    def test_deployed(self) -> None:
        """The limit in the unit is enough for the default."""
        text = Path(__file__).parents[2] / "contrib" / "asciid.service"
        (line,) = (
            line for line in text.read_text().splitlines() if "LimitNOFILE=" in line
        )
        limit = int(line.partition("=")[2])
        wanted = 20_000
        self.assertEqual(connection_limits(wanted, limit, metrics=True).served, wanted)

    def test_warning(self) -> None:
        """A limit that is too low is logged once, with what to do."""
        settings = Settings(
            "tcp:0", None, 1, 1, sync=True, max_connections=8_000, workers=2
        )
        for limit, warned in ((1024, True), (16_384, False)):
            self.patch(_process_limits, "descriptor_limit", lambda limit=limit: limit)
            self.patch(host, "descriptor_limit", lambda limit=limit: limit)
            with capturedLogs() as events:
                host._check_descriptors(settings)
            lines = [formatEvent(event) for event in events]
            self.assertEqual(len(lines), warned)
            if warned:
                self.assertIn("1024 file descriptors allow 1152 connections", lines[0])
                self.assertIn("raise the limit (LimitNOFILE=, ulimit -n)", lines[0])
