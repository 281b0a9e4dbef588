"""The servers that the tests start: what the other tests rely on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.cluster._pgbouncer import new_bouncer
from tests.cluster._programs import need, wait_until
from tests.cluster._server import new_server
from tests.integration._daemon import environment

_STARTED_AND_KILLED = """
import os, signal
from tests.cluster._server import new_server
server = new_server()
print(server.directory, *server.program.descendants(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


class NeedTests(SynchronousTestCase):
    """Programs that are not installed."""

    def test_skipped(self) -> None:
        """Without a program the test is skipped, and the reason names its package."""
        self.patch(os, "environ", {"PATH": "/bin"})
        with self.assertRaises(SkipTest) as skipped:
            need("sh", "no-such-program")
        self.assertIn("no-such-program", str(skipped.exception))
        need("sh")

    def test_required(self) -> None:
        """Where programs are required, as in CI, that is an error."""
        self.patch(os, "environ", {"PATH": "/bin", "ASCIID_REQUIRE_CLUSTER": "1"})
        with self.assertRaisesRegex(RuntimeError, "no-such-program"):
            need("no-such-program")


class ServerTests(SynchronousTestCase):
    """A server with a standby and a pool."""

    def test_standby(self) -> None:
        """A commit is on the synchronous standby, which can become a primary."""
        server = new_server()
        self.addCleanup(server.end)
        standby = server.standby()
        self.addCleanup(standby.end)
        server.synchronize()
        server.execute("CREATE TABLE kept (value int)")
        server.execute("INSERT INTO kept VALUES (42)")
        server.kill()
        standby.promote()
        wait_until(
            lambda: standby.execute("SELECT pg_is_in_recovery()") == [(False,)],
            "the standby is not promoted",
        )
        self.assertEqual(standby.execute("SELECT value FROM kept"), [(42,)])

    def test_restart(self) -> None:
        """A killed server starts again, on the same port, with what was committed."""
        server = new_server(tcp=True)
        self.addCleanup(server.end)
        before = server.conninfo()
        server.execute("CREATE TABLE kept (value int)")
        server.kill()
        self.assertFalse(server.program.is_running)
        server.start()
        self.assertEqual(server.execute("SELECT * FROM kept"), [])
        server.stop()
        server.start()
        self.assertEqual(server.conninfo(), before)
        with psycopg.connect(before) as connection:
            user = connection.execute("SELECT current_user").fetchone()
        self.assertEqual(user, ("asciid",))

    def test_pool(self) -> None:
        """Two transactions of one client may have different connections."""
        server = new_server()
        self.addCleanup(server.end)
        bouncer = new_bouncer(server, connections=2)
        self.addCleanup(bouncer.end)
        identity = "SELECT pg_backend_pid()"
        with (
            psycopg.connect(bouncer.conninfo, prepare_threshold=None) as one,
            psycopg.connect(bouncer.conninfo, prepare_threshold=None) as other,
        ):
            first = one.execute(identity).fetchone()
            self.assertNotEqual(other.execute(identity).fetchone(), first)
            one.commit()
            other.commit()
            self.assertEqual(
                server.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE usename = 'asciid'"
                ),
                [(2,)],
            )

    def test_killed_process(self) -> None:
        """A server ends when the process that started it is killed."""
        done = subprocess.run(
            [sys.executable, "-c", _STARTED_AND_KILLED],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        directory, *pids = done.stdout.split()
        self.addCleanup(subprocess.run, ["rm", "-r", directory], check=True)
        self.assertGreater(len(pids), 3, done.stderr)
        wait_until(
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids),
            "a process outlives the test process",
        )
