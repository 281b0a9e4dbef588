"""Output and exit codes of the commands on a database."""

from __future__ import annotations

import io
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from hashlib import sha256
from unittest.mock import patch

import psycopg
from twisted.trial.unittest import SynchronousTestCase

from asciid.admin import database
from asciid.cli.main import main
from asciid.config.settings import DatabaseURL
from asciid.engines.postgresql import _sql_schema
from tests.cluster._server import OWNER, shared_server

ART = b"/\\_/\\\n( o.o )\n"


class CommandTestCase(SynchronousTestCase):
    """Commands in this process."""

    def run_command(self, *arguments: str, **environ: str) -> tuple[int, str, str]:
        """Run a command; return its exit code and its output."""
        out, err = io.StringIO(), io.StringIO()
        with (
            redirect_stdout(out),
            redirect_stderr(err),
            patch.dict(os.environ, environ),
        ):
            end = self.assertRaises(SystemExit, main, arguments)
        assert isinstance(end.code, int)
        return end.code, out.getvalue(), err.getvalue()


class DatabaseTestCase(CommandTestCase):
    """Commands on a database of their own."""

    def setUp(self) -> None:
        """Make an empty database."""
        server = shared_server()
        server.execute("DROP DATABASE IF EXISTS commands WITH (FORCE)")
        server.execute(f"CREATE DATABASE commands OWNER {OWNER}")
        self.url = server.conninfo(database="commands")

    def on_database(self, command: str, *arguments: str) -> tuple[int, str, str]:
        """Run a command on the database."""
        return self.run_command(command, "--storage", self.url, *arguments)


class MigrateTests(DatabaseTestCase):
    """``asciid migrate``."""

    def test_created(self) -> None:
        """The tables are created once, and are left alone then."""
        created = f"{self.url}: created the tables, schema version 1\n"
        self.assertEqual(self.on_database("migrate"), (0, created, ""))
        already = f"{self.url} has schema version 1 already\n"
        self.assertEqual(self.on_database("migrate"), (0, already, ""))
        code, out, _ = self.on_database("migrate", "--json")
        self.assertEqual(code, 0)
        self.assertEqual(
            json.loads(out), {"migrated": False, "before": 1, "version": 1}
        )

    def test_encoding(self) -> None:
        """A database that cannot store any text gets no tables."""
        server = shared_server()
        server.execute("DROP DATABASE commands WITH (FORCE)")
        latin = "ENCODING 'LATIN1' TEMPLATE template0"
        server.execute(f"CREATE DATABASE commands OWNER {OWNER} {latin}")
        code, out, err = self.on_database("migrate")
        self.assertEqual((code, out), (1, ""))
        reason = "the database has the encoding LATIN1, and UTF8 is needed"
        self.assertIn(f"asciid: {self.url}: {reason}", err)
        self.assertEqual(err.count("\n"), 1)

    def test_two_at_once(self) -> None:
        """One creates the tables, the other ones wait for it, and find them."""
        url = DatabaseURL.parse(self.url)
        assert url is not None
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(database.migrate, [url] * 4))
        self.assertEqual(sorted(results), [(0, 1), (1, 1), (1, 1), (1, 1)])

    def test_upgraded(self) -> None:
        """The versions before and after are printed."""
        self.on_database("migrate")
        add = ["CREATE TABLE asciid.added (id bigint)"]
        self.patch(_sql_schema, "MIGRATIONS", [*_sql_schema.MIGRATIONS, add])
        self.patch(_sql_schema, "VERSION", 2)
        line = f"{self.url}: schema version 1 migrated to 2\n"
        self.assertEqual(self.on_database("migrate"), (0, line, ""))

    def test_failed(self) -> None:
        """A migration that fails changes nothing."""
        broken = [*_sql_schema.MIGRATIONS[0], "SELECT 1/0"]
        self.patch(_sql_schema, "MIGRATIONS", [broken])
        code, out, err = self.on_database("migrate")
        self.assertEqual((code, out), (1, ""))
        self.assertEqual(err, f"asciid: {self.url}: division by zero\n")
        self.patch(_sql_schema, "MIGRATIONS", [broken[:-1]])
        code, out, _ = self.on_database("migrate")
        self.assertEqual(code, 0)
        self.assertIn("created the tables", out)

    def test_newer(self) -> None:
        """A database that a later release has migrated is left alone."""
        self.on_database("migrate")
        with psycopg.connect(self.url) as connection:
            connection.execute("UPDATE asciid.schema_version SET version = 99")
        code, out, err = self.on_database("migrate")
        self.assertEqual((code, out), (1, ""))
        self.assertIn(f"asciid: {self.url}: the database has schema version 99", err)
        with psycopg.connect(self.url) as connection:
            row = connection.execute("SELECT version FROM asciid.schema_version")
            self.assertEqual(row.fetchone(), (99,))

    def test_directory(self) -> None:
        """A storage directory needs no migration, and is not made."""
        path = self.mktemp()
        code, out, err = self.run_command("migrate", "--storage", path)
        line = f"{path} is a storage directory, which needs no migration\n"
        self.assertEqual((code, out, err), (0, line, ""))
        self.assertFalse(os.path.lexists(path))


class RefusalTests(CommandTestCase):
    """Addresses that cannot be used, and commands that do not work on a database."""

    def assert_refused(
        self, code: int, text: str, *arguments: str, **environ: str
    ) -> None:
        """Check that a command ends with `code` and one line with `text`."""
        found, out, err = self.run_command(*arguments, **environ)
        self.assertEqual((found, out), (code, ""))
        self.assertIn(text, err)
        self.assertEqual(err.count("\n"), 1, err)
        self.assertNotIn("hunter2", err)

    def test_password(self) -> None:
        """A password on the command line is refused by each command."""
        url = "postgresql://u:hunter2@127.0.0.1:1/art"
        for command in ("migrate", "blocked", "verify", "compact"):
            self.assert_refused(
                2,
                "--storage: password on the command line",
                *(command, "--storage", url),
            )

    def test_unreachable(self) -> None:
        """Each host that cannot be reached is named, but no password."""
        self.assert_refused(
            1,
            "asciid: postgresql://u:***@127.0.0.1:1,127.0.0.1:2/art: connection failed",
            "migrate",
            ASCIID_STORAGE="postgresql://u:hunter2@127.0.0.1:1,127.0.0.1:2/art",
        )

    def test_malformed(self) -> None:
        """A mistake in the address is named with its source."""
        self.assert_refused(
            2,
            "ASCIID_STORAGE: invalid URL",
            "migrate",
            ASCIID_STORAGE="postgresql://h:x",
        )

    def test_of_the_database(self) -> None:
        """Backup and compaction are the database's."""
        url = "postgresql://127.0.0.1:1/art"
        for command, *arguments in (["backup", "copy"], ["compact"]):
            self.assert_refused(
                2,
                f"asciid {command} works on a storage directory; that of a database "
                "is PostgreSQL's own: see docs/cluster.md",
                *(command, "--storage", url, *arguments),
            )

    def test_not_installed(self) -> None:
        """The line says how to install what is missing."""
        with patch.dict(sys.modules, {"asciid.engines.postgresql": None}):
            self.assert_refused(
                1,
                ": pip install 'asciid[postgresql]'",
                *("migrate", "--storage", "postgresql://127.0.0.1:1/art"),
            )


class BlockTests(DatabaseTestCase):
    """``asciid block``, ``asciid unblock`` and ``asciid blocked``."""

    def test_block(self) -> None:
        """A hash is blocked, listed as such, and unblocked."""
        self.on_database("migrate")
        digest = "a" * 64
        self.assertEqual(
            self.on_database("block", digest, "--reason", "Käse 5/26"),
            (0, f"{digest} blocked; it was not stored\n", ""),
        )
        code, out, _ = self.on_database("blocked")
        self.assertEqual(code, 0)
        self.assertRegex(out, rf"\A{digest} 20\S+ Käse 5/26\n\Z")
        self.assertEqual(
            self.on_database("unblock", digest), (0, f"{digest} unblocked\n", "")
        )
        self.assertEqual(
            self.on_database("unblock", digest), (1, f"{digest} is not blocked\n", "")
        )
        self.assertEqual(self.on_database("blocked"), (0, "", ""))

    def test_many(self) -> None:
        """All blocked hashes are listed, however many there are."""
        self.on_database("migrate")
        with psycopg.connect(self.url) as connection:
            connection.execute(
                "INSERT INTO asciid.blocked (since, shard, sha256, reason) "
                "SELECT 0, get_byte(hash, 0), hash, 'x' FROM ("
                "SELECT sha256(i::text::bytea) AS hash FROM generate_series(1, 250) i"
                ") hashes"
            )
        code, out, _ = self.on_database("blocked", "--json")
        self.assertEqual(code, 0)
        hashes = [each["sha256"] for each in json.loads(out)["blocked"]]
        self.assertEqual(hashes, sorted(set(hashes)))
        self.assertEqual(len(hashes), 250)

    def test_not_migrated(self) -> None:
        """A database without tables is refused."""
        for command in (["blocked"], ["unblock", "a" * 64]):
            code, out, err = self.on_database(*command)
            self.assertEqual((code, out), (1, ""))
            self.assertEqual(
                err,
                f"asciid: {self.url}: the database has no tables of asciid: "
                "run asciid migrate\n",
            )


class StoredTestCase(DatabaseTestCase):
    """Commands on a database with an image."""

    def setUp(self) -> None:
        """Store it."""
        super().setUp()
        self.on_database("migrate")
        self.sha256 = sha256(ART).hexdigest()
        parameters = sha256(ART).digest(), len(ART)
        with psycopg.connect(self.url) as connection:
            connection.execute(
                "INSERT INTO asciid.image (upload, size, chunk_size, piece_size, "
                "missing, created, active, completed, shard, listed, sha256) "
                "SELECT 1, size, size, size, 0, 1, 1, 1, get_byte(hash, 0), true, hash "
                "FROM (SELECT %s::bytea AS hash, %s AS size) image",
                parameters,
            )
            connection.execute(
                "INSERT INTO asciid.chunk (upload, id, shard, data) "
                "VALUES (1, 0, 1, %s)",
                (ART,),
            )


class RemovalTests(StoredTestCase):
    """What ``asciid block`` removes."""

    def test_removed(self) -> None:
        """Nothing of the image is left, and nodes learn of it."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("LISTEN asciid_removed")
            # More than one transaction deletes.
            connection.execute(
                "INSERT INTO asciid.chunk (upload, id, shard, data) "
                "SELECT 1, i, 1, 'x' FROM generate_series(1, 20000) i"
            )
            self.assertEqual(
                self.on_database("block", self.sha256, "--reason=spam"),
                (0, f"{self.sha256} blocked\n", ""),
            )
            (notice,) = connection.notifies(timeout=60, stop_after=1)
            self.assertIn(self.sha256, notice.payload)
            for table in ("image", "chunk", "discarded", "node"):
                rows = connection.execute(f"SELECT FROM asciid.{table}".encode())
                self.assertEqual(rows.fetchall(), [], table)


class VerifyTests(StoredTestCase):
    """``asciid verify``."""

    def test_intact(self) -> None:
        """What was read is reported."""
        line = f"1 images, {len(ART)} bytes: none damaged\n"
        self.assertEqual(self.on_database("verify", "--rate=0"), (0, line, ""))

    def test_no_image(self) -> None:
        """What belongs to no image is named by its upload, and deleted."""
        with psycopg.connect(self.url) as connection:
            connection.execute(
                "INSERT INTO asciid.about VALUES (300, 1, 44, '{}', '', '')"
            )
        code, out, err = self.on_database("verify")
        self.assertEqual((code, err), (1, ""))
        self.assertEqual(
            out.splitlines(),
            [
                "upload 300 has an about record, but is no image",
                f"1 images, {len(ART)} bytes: none damaged; 1 inconsistent, mended",
            ],
        )

    def test_damaged(self) -> None:
        """A damaged image is quarantined, and can be moved back."""
        with psycopg.connect(self.url) as connection:
            connection.execute("UPDATE asciid.chunk SET data = set_byte(data, 0, 0)")
        code, out, err = self.on_database("verify", "--no-quarantine")
        self.assertEqual((code, err), (1, ""))
        self.assertIn(f"{self.sha256}: ", out)
        code, out, err = self.on_database("verify", "--json")
        self.assertEqual((code, err), (1, ""))
        (damaged,) = json.loads(out)["damaged"]
        self.assertEqual(damaged["sha256"], self.sha256)
        self.assertTrue(damaged["quarantined"])
        code, out, _ = self.on_database("verify")
        self.assertEqual((code, out), (0, "0 images, 0 bytes: none damaged\n"))
        restored = self.on_database("verify", "--restore")
        self.assertEqual(restored, (0, "1 restored\n", ""))
        code, out, _ = self.on_database("verify", "--purge")
        self.assertEqual(code, 1)
        self.assertIn("1 damaged, in quarantine; 1 purged", out)
