"""A daemon on a PostgreSQL database: its start, and commands beside it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import closing
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SynchronousTestCase

from tests.cluster._programs import free_port, make_directory, need
from tests.cluster._server import DATABASE, OWNER, Server, shared_server
from tests.integration._daemon import ANY_PORT, Daemon, environment, twistd

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 60
ART = b"/\\_/\\\n( o.o )\n"


class DatabaseTestCase(SynchronousTestCase):
    """A daemon on a database."""

    def setUp(self) -> None:
        """Make a directory for the daemon."""
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()

    def use(self, server: Server) -> None:
        """Make a daemon on a server, and do not start it."""
        self.server = server
        # The server trusts everybody, and asks for no password.
        self.url = self.server.conninfo().replace("@", ":hunter2@", 1)
        settings = {"ASCIID_STORAGE": self.url, "ASCIID_LOG_LEVEL": "debug"}
        self.daemon = Daemon(self.directory, environ=settings)
        self.addCleanup(self.daemon.kill)

    def use_empty_database(self) -> None:
        """Make a daemon on an empty database of the server that tests share."""
        server = shared_server(tcp=True)
        server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        self.use(server.make_database())

    def asciid(self, *arguments: str) -> Any:  # noqa: ANN401 - what the command prints
        """Run a command on the database; return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "asciid", *arguments, "--json"],
            cwd=self.directory,
            env=environment(ASCIID_STORAGE=self.url),
            capture_output=True,
            check=True,
            timeout=PATIENCE,
        )
        return json.loads(done.stdout)

    def execute(self, statement: str) -> None:
        """Carry out a statement in the database."""
        self.server.execute(statement, database=DATABASE)

    def status(self, path: str, method: str = "GET", body: bytes | None = None) -> int:
        """Return the status of a request; check that 503 says when to retry."""
        connection = HTTPConnection("127.0.0.1", self.daemon.port, timeout=PATIENCE)
        with closing(connection):
            fields = {"Content-Type": "text/plain", "Accept": "text/html, */*;q=0.1"}
            connection.request(method, path, body, fields)
            response = connection.getresponse()
            response.read()
        if response.status == 503 and path != "/readyz":
            self.assertTrue(response.getheader("Retry-After"))
        return response.status

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Poll until a condition holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), deadline, f"{what}:\n{self.daemon.log}")
            time.sleep(0.05)

    def wait_for_status(self, path: str, status: int) -> None:
        """Poll until a path responds with a status."""
        self.wait_for(lambda: self.status(path) == status, f"{path} is not {status}")


class StartTests(DatabaseTestCase):
    """Starts that are refused, and those that are not."""

    def assert_refused(self, what: str) -> None:
        """Check that the start ends with 1, and one line without the password."""
        done = subprocess.run(
            twistd("--nodaemon", "--pidfile=", "asciid", "--port", ANY_PORT),
            cwd=self.directory,
            env=environment(ASCIID_STORAGE=self.url),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(done.returncode, 1, done)
        (line,) = done.stderr.splitlines()
        hidden = self.url.replace("hunter2", "***")
        self.assertEqual(line, f"asciid: cannot use the storage {hidden}: {what}")
        self.assertNotIn("Traceback", done.stdout)
        self.assertNotIn("hunter2", done.stdout)

    def test_refused(self) -> None:
        """A database without tables, or with those of a newer release, is refused."""
        self.use_empty_database()
        self.assert_refused("the database has no tables of asciid: run asciid migrate")
        self.asciid("migrate")
        self.execute("UPDATE asciid.schema_version SET version = 99")
        self.assert_refused(
            "the database has schema version 99, and this release knows only up to 1: "
            "run a newer asciid"
        )

    def test_before_the_database(self) -> None:
        """A daemon that is started first serves once the database is ready."""
        need("initdb", "postgres")
        self.use(Server(make_directory(), free_port()).initialize())
        self.addCleanup(self.server.end)
        self.daemon.start()
        self.assertEqual(self.daemon.images, -1)
        self.assertEqual(self.status("/livez"), 200)
        self.assertEqual(self.status("/readyz"), 503)
        image = f"/image/{sha256(ART).hexdigest()}"
        for method, body in (("GET", None), ("PUT", ART)):
            self.assertEqual(self.status(image, method, body), 503)
        self.wait_for(lambda: "Connection refused" in self.daemon.log, "no reason")
        self.server.start().execute(f"CREATE ROLE {OWNER} LOGIN")
        self.server.make_database()
        self.wait_for(lambda: "run asciid migrate" in self.daemon.log, "no advice")
        self.assertEqual(self.status("/readyz"), 503)
        self.assertEqual(self.status(image), 503)
        self.asciid("migrate")
        self.wait_for_status("/readyz", 200)
        self.assertEqual(self.status(image, "PUT", ART), 201)
        self.assertEqual(self.status(image), 200)
        self.daemon.stop()
        self.assert_hidden()

    def assert_hidden(self) -> None:
        """Check that the log has no password."""
        self.assertIn(":***@", self.daemon.log)
        self.assertNotIn("hunter2", self.daemon.log)


class BesideTests(DatabaseTestCase):
    """What happens to the database while a daemon runs."""

    def setUp(self) -> None:
        """Start the daemon."""
        super().setUp()
        self.use_empty_database()
        self.asciid("migrate")
        self.daemon.start()

    def test_migrated_elsewhere(self) -> None:
        """A daemon does not use a database that another release has migrated."""
        self.execute("UPDATE asciid.schema_version SET version = 99")
        self.server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'asciid'"
        )
        self.wait_for_status("/readyz", 503)
        self.wait_for(lambda: "schema version 99" in self.daemon.log, "no reason")
        image = f"/image/{sha256(ART).hexdigest()}"
        self.assertEqual(self.status(image, "PUT", ART), 503)
        self.assertEqual(self.status(image), 503)
        self.execute("UPDATE asciid.schema_version SET version = 1")
        self.wait_for_status("/readyz", 200)
        self.assertEqual(self.status(image, "PUT", ART), 201)
        self.daemon.stop()

    def test_blocked(self) -> None:
        """A block by command removes an image from the caches of daemons."""
        digest = sha256(ART).hexdigest()
        image = f"/image/{digest}"
        self.assertEqual(self.status(image, "PUT", ART), 201)
        self.assertEqual(self.status(image), 200)
        self.assertTrue(self.asciid("block", digest, "--reason=Käse")["removed"])
        self.wait_for_status(image, 451)
        self.assertEqual(self.status(image, "PUT", ART), 403)
        (entry,) = self.asciid("blocked")["blocked"]
        self.assertEqual((entry["sha256"], entry["reason"]), (digest, "Käse"))
        self.assertTrue(self.asciid("unblock", digest)["unblocked"])
        self.assertEqual(self.status(image, "PUT", ART), 201)
        self.daemon.stop()

    def test_processes(self) -> None:
        """No process has the password in its command line, or inherits it."""
        # The renderer is started by a page.
        image = f"/image/{sha256(ART).hexdigest()}"
        self.assertEqual(self.status(image, "PUT", ART), 201)
        self.assertEqual(self.status(f"/i/{sha256(ART).hexdigest()[:12]}"), 200)
        tasks = Path(f"/proc/{self.daemon.pid}/task")
        children = "".join(path.read_text() for path in tasks.glob("*/children"))
        self.assertTrue(children.split())
        for pid in (str(self.daemon.pid), *children.split()):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            self.assertTrue(command)
            self.assertNotIn(b"hunter2", command)
        for pid in children.split():
            self.assertNotIn(b"hunter2", Path(f"/proc/{pid}/environ").read_bytes())
        self.daemon.stop()
