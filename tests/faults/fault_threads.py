"""The system has no room for another thread, as with TasksMax= or pids.max."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twisted.trial.unittest import SkipTest

from asciid.engines._batching import READERS
from tests.faults._case import FaultTestCase
from tests.faults._client import Connection
from tests.faults._load import Upload
from tests.integration._daemon import ANY_PORT, environment, twistd

_MOUNT = Path("/sys/fs/cgroup/pids")


class ThreadLimitTests(FaultTestCase):
    """Daemons in a control group that bounds their threads."""

    def setUp(self) -> None:
        """Make a control group."""
        super().setUp()
        self.group = _MOUNT / f"asciid-{self.mktemp().replace('/', '-')}"
        try:
            self.group.mkdir()
            (self.group / "pids.max").read_text()
        except OSError as error:
            message = f"needs a pids control group: {error}"
            raise SkipTest(message) from error
        self.addCleanup(self.group.rmdir)

    def test_no_more_threads(self) -> None:
        """A daemon that may start no thread reads and writes, and compacts later."""
        daemon = self.daemon()
        (self.group / "cgroup.procs").write_text(str(daemon.pid))
        count = (self.group / "pids.current").read_text()
        (self.group / "pids.max").write_text(count)
        uploads = [Upload.sized(200_000, whole=True) for _ in range(2 * READERS)]
        record = self.upload(daemon, uploads)

        def read(upload: Upload) -> int:
            with Connection(daemon.port) as connection:
                return connection.request("GET", upload.target).status

        with ThreadPoolExecutor(len(uploads)) as clients:
            self.assertEqual(list(clients.map(read, uploads)), [200] * len(uploads))
        storage = str(self.data_file.parent)
        self.assertEqual((self.group / "pids.current").read_text(), count)
        # LMDB itself starts a thread for the copy.
        refused = self.asciid("compact", "--storage", storage)
        self.assertIn("Resource temporarily unavailable", refused.stderr)
        self.assertEqual(self.failed_checks(daemon), [])
        (self.group / "pids.max").write_text("max")
        compacted = self.asciid("compact", "--storage", storage)
        self.assertEqual(compacted.returncode, 0, compacted.stderr)
        self.assert_kept(daemon, record)
        self.assert_calm(daemon)
        daemon.stop()

    def test_start(self) -> None:
        """A start without room for the threads ends with one line."""
        (self.group / "pids.max").write_text(str(READERS))
        self.directory.mkdir()
        # The shell enters the group, and becomes the daemon.
        entered = f'echo $$ >"{self.group}/cgroup.procs" && exec "$@"'
        command = twistd("--nodaemon", "--pidfile=", "asciid")
        done = subprocess.run(
            ["sh", "-c", entered, "sh", *command],
            cwd=self.directory,
            env=environment(ASCIID_PORT=ANY_PORT),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("cannot create the threads of asciid-", done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
