"""TLS to a database, and the places of its password, with a real server."""

from __future__ import annotations

import atexit
import os
from functools import cache
from pathlib import Path

from tests.cli.test_database_commands import CommandTestCase
from tests.cluster._programs import free_port, make_directory, need
from tests.cluster._server import DATABASE, OWNER, Server
from tests.integration._certificate import write_chain

PASSWORD = "hunt:er@2"

ACCESS = """\
local   all postgres              trust
hostssl all all      127.0.0.1/32 scram-sha-256
"""


@cache
def tls_server() -> Server:
    """Return a server that accepts only TLS and passwords, until this process ends."""
    need("initdb", "postgres")
    directory = make_directory()
    write_chain(directory)
    owner = directory.stat()
    key = directory / "key.pem"
    key.chmod(0o600)
    os.chown(key, owner.st_uid, owner.st_gid)
    settings = {
        "ssl": "on",
        "ssl_key_file": str(key),
        "ssl_cert_file": str(directory / "cert.pem"),
    }
    server = Server(directory, free_port(), settings, ACCESS)
    atexit.register(server.end)
    server.initialize().start()
    server.execute(f"CREATE ROLE {OWNER} LOGIN PASSWORD '{PASSWORD}'")
    return server.make_database()


class AccessTests(CommandTestCase):
    """A server that accepts only TLS, and only with a password."""

    def setUp(self) -> None:
        """Start it, before the first test."""
        self.server = tls_server()
        self.authority = self.server.directory / "ca.pem"

    def url(self, parameters: str = "", *, host: str = "localhost") -> str:
        """Return the server's URL."""
        return (
            f"postgresql://{OWNER}@{host}:{self.server.port}/{DATABASE}"
            f"?hostaddr=127.0.0.1&{parameters or f'sslrootcert={self.authority}'}"
            "&sslmode="
        )

    def written(self, text: str) -> str:
        """Return the path of a new file that only its user can read."""
        path = Path(self.mktemp()).absolute()
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return str(path)

    def migrate(self, url: str, **environ: str) -> tuple[int, str]:
        """Connect to the server; return the exit code and the output, in one line."""
        code, out, err = self.run_command("migrate", ASCIID_STORAGE=url, **environ)
        output = out + err
        self.assertEqual(output.count("\n"), 1, output)
        for shape in (PASSWORD, "hunt%3Aer%402"):
            self.assertNotIn(shape, output)
        return code, output

    def test_modes(self) -> None:
        """TLS is verified as far as `sslmode` says."""
        for mode in ("prefer", "require", "verify-ca", "verify-full"):
            code, output = self.migrate(self.url() + mode, PGPASSWORD=PASSWORD)
            self.assertEqual(code, 0, output)
        code, output = self.migrate(self.url() + "disable", PGPASSWORD=PASSWORD)
        self.assertEqual(code, 1)
        self.assertIn("no encryption", output)

    def test_other_host(self) -> None:
        """A certificate of another host is refused by verify-full alone."""
        url = self.url(host="db.example")
        code, output = self.migrate(url + "verify-ca", PGPASSWORD=PASSWORD)
        self.assertEqual(code, 0, output)
        code, output = self.migrate(url + "verify-full", PGPASSWORD=PASSWORD)
        self.assertEqual(code, 1)
        self.assertIn('does not match host name "db.example"', output)

    def test_other_authority(self) -> None:
        """A certificate of another authority is refused."""
        other = Path(self.mktemp()).absolute()
        other.mkdir()
        write_chain(other)
        url = self.url(f"sslrootcert={other / 'ca.pem'}")
        for mode in ("require", "verify-ca", "verify-full"):
            # With a root certificate, libpq has require verify, too.
            code, output = self.migrate(url + mode, PGPASSWORD=PASSWORD)
            self.assertEqual(code, 1)
            self.assertIn("SSL error", output)
        missing = self.url("sslrootcert=/nonexistent/ca.pem")
        code, output = self.migrate(missing + "verify-full", PGPASSWORD=PASSWORD)
        self.assertEqual(code, 1)
        self.assertIn('root certificate file "/nonexistent/ca.pem" does not', output)

    def test_password_places(self) -> None:
        """A password file, a service file, and the variables have the password."""
        url = self.url() + "verify-full"
        escaped = PASSWORD.replace(":", "\\:")
        file = self.written(f"localhost:*:*:{OWNER}:{escaped}\n")
        service = self.written(
            f"[art]\nhost=localhost\nport={self.server.port}\ndbname={DATABASE}\n"
            f"user={OWNER}\npassword={PASSWORD}\nsslrootcert={self.authority}\n"
        )
        home = Path(self.mktemp()).absolute()
        home.mkdir()
        Path(file).rename(home / ".pgpass")
        for address, environ in [
            (url, {"PGPASSWORD": PASSWORD}),
            (url, {"PGPASSFILE": str(home / ".pgpass")}),
            (url, {"HOME": str(home)}),
            (f"{url}&passfile={home / '.pgpass'}", {}),
            ("postgresql://?service=art", {"PGSERVICEFILE": service}),
            ("postgresql://", {"PGSERVICEFILE": service, "PGSERVICE": "art"}),
            (url.replace("@", ":hunt%3Aer%402@", 1), {}),
            (f"{url}&password=hunt%3Aer%402", {}),
        ]:
            code, output = self.migrate(address, **environ)
            self.assertEqual(code, 0, output)

    def test_wrong_password(self) -> None:
        """The server's reason is printed."""
        url = self.url() + "require"
        code, output = self.migrate(url, PGPASSWORD="guess")
        self.assertEqual(code, 1)
        self.assertIn(f'password authentication failed for user "{OWNER}"', output)
        code, output = self.migrate(url, HOME="/nonexistent")
        self.assertEqual(code, 1)
        self.assertIn("no password supplied", output)
