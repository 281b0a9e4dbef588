"""PostgreSQL connection URIs: their syntax, and what is shown of them."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.net.database_url import DatabaseURL, DatabaseURLError

SECRET = "hunter2"

PARTS = st.sampled_from(
    [
        *("postgres", "ql", "://", "u", ":", SECRET, "@", "/", "?", "&", "=", ",", "5"),
        *("%40", "%", "[::1]", "password", "sslmode", "require", "#", " ", "\udcff"),
    ]
)


def parsed(text: str) -> DatabaseURL:
    """Return the URL in `text`, which is one."""
    database = DatabaseURL.parse(text)
    assert database is not None, text
    return database


class SyntaxTests(SynchronousTestCase):
    """The URIs that libpq accepts, and no others."""

    def assert_refused(self, text: str, message: str) -> None:
        """`text` is refused with a line that contains `message`, and no secret."""
        error = self.assertRaises(DatabaseURLError, DatabaseURL.parse, text)
        self.assertIn(message, str(error))
        self.assertNotIn("\n", str(error))
        self.assertNotIn(SECRET, str(error))

    def test_valid(self) -> None:
        """Hosts may be several, left out, addresses, or directories of sockets."""
        for text in (
            "postgresql://",
            "postgres://asciid@a.example/art",
            "postgresql://a.example:5432,b.example:5433,[2001:db8::1]:1/art",
            "postgresql://%2Frun%2Fpostgresql/art?sslmode=verify-full",
            "postgresql:///art?host=/run/postgresql&port=5432,5433&connect_timeout=5",
            "postgresql://?service=asciid",
            "postgresql://asciid:@h/art?password=&target_session_attrs=read-write",
        ):
            database = parsed(text)
            self.assertEqual((str(database), database.text), (text, text))
            self.assertFalse(database.has_secret)

    def test_paths(self) -> None:
        """A text without :// is a path."""
        for text in ("art", "/art", ":memory:", "a:b", "./mysql://a", "postgresql"):
            self.assertIsNone(DatabaseURL.parse(text), text)

    def test_other_schemes(self) -> None:
        """The URL of something else does not become a directory."""
        refused = f"mysql://u:{SECRET}@h", f"PostgreSQL://u:{SECRET}@h/art"
        for text in (*refused, f"postgresql+psycopg://u:{SECRET}@h/art"):
            self.assert_refused(text, "must begin with postgresql://")
        for text in (f"postgres:u:{SECRET}@h", "postgresql:/h/art"):
            self.assert_refused(text, "not a URL: it must begin with postgresql://")

    def test_unescaped(self) -> None:
        """An unescaped character is named, not the password with it."""
        for password in (f"{SECRET}@x", f"x@{SECRET}", f"{SECRET}/x", f"1/{SECRET}"):
            self.assert_refused(f"postgresql://u:{password}@h/art", "misplaced @")
        for password in (f"{SECRET} x", f"{SECRET}\n", f"{SECRET}\0", "\udcff"):
            self.assert_refused(f"postgresql://u:{password}@h", "percent-encode")
        self.assert_refused(f"postgresql://u:{SECRET}%zz@h", "hexadecimal")
        self.assert_refused(f"postgresql://u:{SECRET}%00@h", "%00 is not allowed")
        self.assert_refused("postgresql://h/a/b", "/ in the database name")

    def test_hosts(self) -> None:
        """A host or port that cannot be one is refused."""
        for host in (f"u:{SECRET}", "h:1:2", "[::1", "h,[x]"):
            self.assert_refused(f"postgresql://{host}/art", "is not a name")
        for port in ("0", "65536", "9" * 5000):
            self.assert_refused(f"postgresql://h:{port}", "number from 1 to 65535")
        self.assert_refused("postgresql://?port=x", "number from 1 to 65535")

    def test_parameters(self) -> None:
        """Unknown parameters, those that cannot work, and bad values are refused."""
        for query, message in [
            ("bogus=1", "unknown or unsuitable parameter 'bogus'"),
            (
                "client_encoding=latin1",
                "unknown or unsuitable parameter 'client_encoding'",
            ),
            ("replication=database", "unknown or unsuitable parameter 'replication'"),
            (f"{SECRET}=@h", "unknown or unsuitable parameter"),
            ("sslmode", "parameter 1 after ? is not name=value"),
            ("sslmode=require&", "parameter 2 after ? is not name=value"),
            (f"password={SECRET}=", "parameter 1 after ? is not name=value"),
            ("sslmode=on", "sslmode is not one of disable, allow, prefer, require"),
            ("target_session_attrs=any", "is not one of primary, read-write"),
            ("connect_timeout=soon", "connect_timeout is not a number"),
        ]:
            self.assert_refused(f"postgresql://h/art?{query}", message)


class SecretTests(SynchronousTestCase):
    """Nothing that is printed has the password."""

    def test_hidden(self) -> None:
        """Passwords are hidden, however they are written; the rest is shown."""
        for text, shown in [
            ("postgres://u:{}@h:1/art", "postgres://u:***@h:1/art"),
            ("postgres://:{}@a,b", "postgres://:***@a,b"),
            ("postgres://h?password={}&user=u", "postgres://h?password=***&user=u"),
            ("postgres://h?pass%77ord={}", "postgres://h?pass%77ord=***"),
            ("postgres://h?sslpassword={}", "postgres://h?sslpassword=***"),
            ("postgres://h?scram_client_key={}", "postgres://h?scram_client_key=***"),
            ("postgres://u:{0}@h?password={0}", "postgres://u:***@h?password=***"),
        ]:
            database = parsed(text.format(SECRET))
            self.assertTrue(database.has_secret)
            self.assertEqual(database.text, text.format(SECRET))
            self.assertEqual(str(database), shown)
            self.assertEqual(repr(database), f"DatabaseURL({shown!r})")

    def test_shown_as_password(self) -> None:
        """A URL that was copied from printed settings is not used."""
        error = self.assertRaises(
            DatabaseURLError, DatabaseURL.parse, "postgresql://u:***@h"
        )
        self.assertIn("as in printed settings", str(error))

    @given(st.text(min_size=1), st.text())
    def test_any_password(self, user: str, password: str) -> None:
        """A percent-encoded password is never shown, whatever it has."""
        user, password = (
            quote(text, safe="", errors="replace").replace("%00", "0")
            for text in (user, f"{SECRET}{password}")
        )
        shown = str(parsed(f"postgresql://{user}:{password}@h/art"))
        self.assertEqual(shown, f"postgresql://{user}:***@h/art")

    @given(st.lists(PARTS, max_size=12))
    def test_anything(self, parts: list[str]) -> None:
        """Any text is a URL, a path, or refused in one line."""
        text = "postgresql://" + "".join(parts)
        try:
            database = parsed(text)
        except DatabaseURLError as error:
            self.assertNotIn("\n", str(error))
            self.assertNotIn(SECRET, str(error))
        else:
            self.assertNotIn(f":{SECRET}@", str(database))
