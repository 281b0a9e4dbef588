"""Tests of asciid.config.tokens."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from asciid.config.tokens import (
    MAX_FILE,
    MAX_TOKENS,
    TokenFile,
    TokenFileError,
)
from asciid.testing import ManualReactor, ManualThreadPool, run

SECRET = "s3cret.-~+/_"


class TokenFileTests(SynchronousTestCase):
    """Files of tokens, good and bad."""

    def setUp(self) -> None:
        """Choose a place."""
        self.path = Path(self.mktemp())
        self.tokens = TokenFile(self.path)

    def write(self, text: str | bytes, mode: int = 0o600) -> None:
        """Write the file."""
        self.path.write_bytes(text if isinstance(text, bytes) else text.encode())
        self.path.chmod(mode)

    def assert_unusable(self, *words: str) -> None:
        """Check that it is refused, with these words and without a secret."""
        error = str(self.assertRaises(TokenFileError, self.tokens.load))
        for word in words:
            self.assertIn(word, error)
        self.assertNotIn(SECRET, error)

    def test_several(self) -> None:
        """Each line is a token, but for blank ones and comments."""
        self.write(f"# first\n\n{SECRET}\r\n  other==  \n\t# last {SECRET}x\nend")
        self.tokens.load()
        for token in (SECRET, "other==", "end"):
            self.assertTrue(self.tokens.accepts(token.encode()), token)
        for token in ("", "#", "other", "other=", f"{SECRET}x", "en", "end\n"):
            self.assertFalse(self.tokens.accepts(token.encode()), token)

    def test_not_loaded(self) -> None:
        """Before the file was read no token is good."""
        self.write(SECRET)
        self.assertFalse(self.tokens.accepts(SECRET.encode()))
        self.assertFalse(self.tokens.accepts(b""))

    def test_missing(self) -> None:
        """A file that is not there cannot be used, nor can a directory."""
        self.assert_unusable("No such file")
        self.path.mkdir()
        self.assert_unusable("not a regular file")

    def test_pipe(self) -> None:
        """A pipe, which could be waited for without end, is not opened."""
        os.mkfifo(self.path)
        self.assert_unusable("not a regular file")

    def test_unreadable(self) -> None:
        """A file that cannot be opened cannot be used."""
        self.write(SECRET)
        self.patch(Path, "open", self.refuse)
        self.assert_unusable("Permission denied")

    def refuse(self, *_: object) -> None:
        """Refuse to open a file."""
        raise PermissionError(13, "Permission denied")

    def test_empty(self) -> None:
        """A file without a token is unusable."""
        for text in ("", "\n\n", "# nothing\n"):
            self.write(text)
            self.assert_unusable("0 tokens")

    def test_malformed(self) -> None:
        """A malformed line is reported by its number only."""
        for line in (
            f"{SECRET} x",
            f"{SECRET}#x",
            f"{SECRET}=x",
            "=",
            f"{SECRET}\xe4",
            f"{SECRET}\0",
        ):
            self.write(f"good\n\n{line}\ngood")
            self.assert_unusable("line 3")
        self.write(b"\xff\xfe")
        self.assert_unusable("line 1")

    def test_limits(self) -> None:
        """Files have a bounded length and number of tokens."""
        self.write("\n".join(f"t{i}" for i in range(MAX_TOKENS)))
        self.tokens.load()
        self.assertTrue(self.tokens.accepts(b"t0"))
        self.write("\n".join(f"t{i}" for i in range(MAX_TOKENS + 1)))
        self.assert_unusable(f"{MAX_TOKENS + 1} tokens")
        self.write("x" * MAX_FILE)
        self.tokens.load()
        self.write("x" * (MAX_FILE + 1))
        self.assert_unusable("too large")

    def reload(self) -> bool:
        """Read the file again, in a thread."""
        pool = ManualThreadPool()
        reactor = ManualReactor()
        reactor.getThreadPool = lambda: pool  # type: ignore[attr-defined] # as it has
        reloading = self.tokens.reload(reactor)
        self.assertNoResult(reloading)
        return run(reloading, reactor, pool)

    def test_reload(self) -> None:
        """A reload replaces the tokens."""
        self.write("old")
        self.tokens.load()
        self.write(SECRET)
        with capturedLogs() as events:
            self.assertTrue(self.reload())
        self.assertFalse(self.tokens.accepts(b"old"))
        self.assertTrue(self.tokens.accepts(SECRET.encode()))
        (event,) = events
        self.assertEqual(event["log_level"], LogLevel.info)
        self.assertIn("loaded 1 write tokens", str(formatEvent(event)))
        self.assertNotIn(SECRET, str(event))

    def test_reload_of_a_bad_file(self) -> None:
        """A bad file changes nothing but the log, which holds nothing of it."""
        self.write("old")
        self.tokens.load()
        for text in (f"{SECRET} x", ""):
            self.write(text)
            with capturedLogs() as events:
                self.assertFalse(self.reload())
            self.assertTrue(self.tokens.accepts(b"old"))
            (event,) = events
            self.assertEqual(event["log_level"], LogLevel.error)
            self.assertIn(str(self.path), str(formatEvent(event)))
            self.assertNotIn(SECRET, str(event))
        self.path.unlink()
        self.reload()
        self.assertTrue(self.tokens.accepts(b"old"))

    def test_quiet(self) -> None:
        """With `quiet` there is no warning: another process logs it."""
        self.write(SECRET, 0o644)
        with capturedLogs() as events:
            TokenFile(self.path, quiet=True).load()
        self.assertEqual(events, [])

    def test_mode(self) -> None:
        """A file that every user can read or write is used, with a warning."""
        for mode, warned in ((0o600, 0), (0o640, 0), (0o644, 1), (0o602, 1)):
            self.write(SECRET, mode)
            with capturedLogs() as events:
                self.tokens.load()
            self.assertEqual(len(events), warned, oct(mode))
            self.assertNotIn(SECRET, str(events))
            for event in events:
                self.assertEqual(event["log_level"], LogLevel.warn)

    def test_representation(self) -> None:
        """Nothing of a token shows where the object is printed."""
        self.write(SECRET)
        self.tokens.load()
        self.assertNotIn(SECRET, repr(self.tokens))
        self.assertNotIn("digest", repr(self.tokens))
