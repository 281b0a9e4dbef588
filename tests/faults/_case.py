"""Base of the fault tests: a directory, daemons, and checks."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from tests.faults._client import Answer, Connection
from tests.faults._load import Record, Upload, Uploader
from tests.integration._daemon import Daemon, environment

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FaultTestCase"]

_PATIENCE = 90
"""Seconds after which a daemon that is not ready has failed the test."""


class FaultTestCase(SynchronousTestCase):
    """Starts daemons that do not outlive the test, and reports measurements."""

    def setUp(self) -> None:
        """Choose a directory that does not exist yet."""
        self.directory = Path(self.mktemp()).resolve()

    @property
    def data_file(self) -> Path:
        """The storage file of the daemons."""
        return self.directory / "storage" / "data.mdb"

    def daemon(self, *options: str, **fields: Any) -> Daemon:  # noqa: ANN401 - Daemon's
        """Start a daemon that does not outlive the test."""
        storage = ("--storage", str(self.data_file.parent))
        daemon = Daemon(self.directory, (*storage, *options), **fields)
        self.addCleanup(daemon.kill)
        return daemon.start()

    def restart(self, daemon: Daemon) -> float:
        """Start a daemon that has ended; return the seconds until it serves."""
        began = time.monotonic()
        daemon.start()
        return time.monotonic() - began

    def failed_checks(self, daemon: Daemon) -> list[str]:
        """Request the daemon's readiness; return the failed checks."""
        with Connection(daemon.port) as connection:
            answer = connection.request("GET", "/readyz")
        checks = answer.document["checks"]
        failed = [name for name, check in checks.items() if not check["ok"]]
        self.assertEqual(answer.status, 503 if failed else 200)
        return failed

    def wait_until_ready(self, daemon: Daemon) -> None:
        """Poll until the daemon is ready; it checks itself only on request."""
        self.wait_until_failing(daemon, [])

    def wait_until_failing(self, daemon: Daemon, checks: list[str]) -> None:
        """Poll until exactly these checks fail."""
        deadline = time.monotonic() + _PATIENCE
        while (failed := self.failed_checks(daemon)) != checks:
            self.assertLess(time.monotonic(), deadline, failed)
            time.sleep(0.1)

    def upload(self, daemon: Daemon, uploads: Iterable[Upload]) -> Record:
        """Upload images, one after the other."""
        record = Record()
        with Connection(daemon.port) as connection:
            for upload in uploads:
                Uploader(connection, record).upload(upload)
        return record

    def get(self, daemon: Daemon, upload: Upload) -> Answer:
        """Download an image."""
        with Connection(daemon.port) as connection:
            return connection.request("GET", upload.target)

    def asciid(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the ``asciid`` command, beside the daemons' storage."""
        return subprocess.run(
            [
                *(sys.executable, "-m", "asciid"),
                *arguments,
            ],
            cwd=self.directory,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def metrics(self, daemon: Daemon) -> Counter[tuple[str, str]]:
        """
        Return the samples of ``GET /metrics``, by name and by status or reason, if
        they have one.
        """
        with Connection(daemon.port) as connection:
            text = connection.request("GET", "/metrics").body.decode()
        values: Counter[tuple[str, str]] = Counter()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = sample.labels
                which = labels.get("status") or labels.get("reason") or ""
                values[sample.name, which] += sample.value  # type: ignore[assignment]
        return values

    def assert_kept(self, daemon: Daemon, record: Record) -> None:
        """Check that all acknowledged writes exist and are intact."""
        self.assertEqual(record.violations(daemon), [])

    def assert_consistent(self, storage: Path) -> None:
        """Check that the listing and the other records beside images agree."""
        verify = ("verify", "--no-quarantine", "--rate=0", "--json")
        verified = self.asciid(*verify, "--storage", str(storage))
        self.assertEqual(json.loads(verified.stdout)["inconsistent"], [])
        self.assertEqual(verified.returncode, 0)

    def assert_calm(self, daemon: Daemon) -> None:
        """Check that the daemon has logged no traceback."""
        self.assertNotIn("Traceback", daemon.log)

    def report(self, text: str) -> None:
        """Print a measurement."""
        sys.stdout.write(f"\n      {text} ... ")
        sys.stdout.flush()
