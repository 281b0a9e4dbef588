"""Tests of asciid.daemon.assembly."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from attrs import evolve
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from asciid.api import PROBLEM_TYPES
from asciid.config.settings import DatabaseURL, Settings
from asciid.daemon._process_limits import body_limit_warning
from asciid.daemon.assembly import make_image_service
from asciid.daemon.host import Host
from asciid.daemon.storing import make_engine
from asciid.engines import postgresql
from asciid.engines.postgresql import Database
from asciid.net.listener import StartError
from asciid.runtime.cache import footprint
from asciid.store._store import _OVERHEAD
from asciid.testing import MemoryStore
from tests.api._support import Client
from tests.store._support import spec_of

CHUNK = 1_000_000
LARGEST_BODY = 6 * CHUNK + 16 * 1024


def settings(bodies: int, workers: int = 1, chunk: int = CHUNK) -> Settings:
    """Return settings with such limits."""
    return Settings(
        "tcp:4444",
        Path("/images"),
        max_image_size=10 * CHUNK,
        max_chunk_size=chunk,
        sync=True,
        max_bodies=bodies,
        workers=workers,
    )


class MetricsTests(SynchronousTestCase):
    """What the metrics of a process include."""

    def test_included(self) -> None:
        """They have each problem type from the start, and the connections."""
        host = Host(MemoryReactorClock())
        service = make_image_service(settings(1), host, MemoryStore()._engine)
        server: Any = service._server
        Client(server).connect()
        samples = {
            (sample.name, *sample.labels.values()): sample.value
            for family in service.metrics.collect()
            for sample in family.samples
        }
        self.assertEqual(samples["asciid_connections",], 1)
        for name in PROBLEM_TYPES:
            self.assertEqual(samples["asciid_refusals_total", name], 0)


class ListingTests(SynchronousTestCase):
    """What --listing decides."""

    def test_listed_by_default(self) -> None:
        """Images are listed without a word of their uploader with `all` only."""
        for listing, listed in (("all", True), ("opt-in", False), ("off", False)):
            chosen = evolve(settings(1), listing=listing)
            host = Host(MemoryReactorClock())
            service = make_image_service(chosen, host, MemoryStore()._engine)
            self.assertIs(service._store.listed_by_default, listed)
            engine, _ = make_engine(chosen, MemoryReactorClock())
            self.assertIs(vars(engine)["_converts_listed"], listed)


class DatabaseTests(SynchronousTestCase):
    """The storage is a database."""

    def test_engine(self) -> None:
        """The engine has both addresses, and the limits."""
        storage, listen = map(
            DatabaseURL.parse, ("postgresql://bouncer/art", "postgresql://h/art")
        )
        chosen = evolve(settings(1), storage=storage, storage_listen=listen)
        with patch.object(postgresql, "PostgreSQLEngine") as make:
            engine, control = make_engine(chosen, MemoryReactorClock())
        self.assertIs(engine, make.return_value)
        self.assertIsNone(control)
        database = Database("postgresql://bouncer/art", "postgresql://h/art")
        self.assertEqual(make.call_args.args, (database,))
        self.assertEqual(make.call_args.kwargs["max_queue"], chosen.max_queue)

    def test_not_installed(self) -> None:
        """What is missing, and how to install it, is one line without the password."""
        database = DatabaseURL.parse("postgresql://u:hunter2@h/art")
        chosen = evolve(settings(1), storage=database)
        printed = io.StringIO()
        self.patch(sys, "__stderr__", printed)
        # As if it were not installed.
        with patch.dict(sys.modules, {"asciid.engines.postgresql": None}):
            error = self.assertRaises(
                StartError, make_engine, chosen, MemoryReactorClock()
            )
        self.assertEqual(error.code, 1)
        line = str(error)
        self.assertTrue(
            line.startswith("asciid: cannot use the storage postgresql://u:***@h/art: ")
        )
        self.assertTrue(line.endswith(": pip install 'asciid[postgresql]'"))
        self.assertEqual(printed.getvalue(), f"{line}\n")


class CacheTests(SynchronousTestCase):
    """The part of --cache-size that each process has."""

    def cached(self, cache_size: int, workers: int) -> int:
        """Return the bytes that a process caches of 20 images of 10,000 bytes."""
        chosen = evolve(settings(1, workers), cache_size=cache_size)
        host = Host(MemoryReactorClock())
        store = make_image_service(chosen, host, MemoryStore()._engine)._store
        for number in range(20):
            data = b"%10000d" % number
            spec = spec_of(data, len(data))
            self.successResultOf(store.register(spec))
            self.successResultOf(store.add_chunk(spec.sha256, 0, data))
        return store.stats().cache_bytes

    def test_divided(self) -> None:
        """Each worker has an equal part, and together no more than the setting."""
        size = footprint(10_000, _OVERHEAD)
        self.assertEqual(self.cached(32 * 2**20, 1), 20 * size)
        self.assertEqual(self.cached(8 * size, 1), 8 * size)
        self.assertEqual(self.cached(8 * size, 4), 2 * size)
        self.assertEqual(self.cached(8 * size - 1, 4), size)

    def test_off(self) -> None:
        """With 0 nothing is cached."""
        self.assertEqual(self.cached(0, 1), 0)


class BodyLimitTests(SynchronousTestCase):
    """The part of --max-bodies that each process has."""

    def body_limit_of(self, chosen: Settings) -> float:
        """Return the limit of a process, which its metrics have."""
        host = Host(MemoryReactorClock())
        service = make_image_service(chosen, host, MemoryStore()._engine)
        server: Any = service._server
        capacity: int = server.bodies.capacity
        return capacity

    def test_divided(self) -> None:
        """Each worker has an equal part."""
        for workers, limit in ((1, 80_000_001), (8, 10_000_001)):
            chosen = settings(80_000_001, workers)
            self.assertEqual(self.body_limit_of(chosen), limit)
            self.assertIsNone(body_limit_warning(chosen))

    def test_largest_chunk(self) -> None:
        """No part is smaller than the largest body; then there is a warning."""
        for workers in (1, 8):
            chosen = settings(2**20, workers)
            self.assertEqual(self.body_limit_of(chosen), LARGEST_BODY)
            self.assertIn(
                f"{LARGEST_BODY * workers} bytes, not 1048576",
                body_limit_warning(chosen) or "",
            )

    def test_small_chunks(self) -> None:
        """A part is large enough for a body that is streamed, too."""
        self.assertEqual(self.body_limit_of(settings(1000, chunk=1)), 256 * 1024)
