"""Output and exit codes of the commands that use a server."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from click import UsageError
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from asciid.art.encodings import LARGEST_CONVERTED, Origin
from asciid.cli import _server, _showing, main
from asciid.cli._bar import Bar
from asciid.cli._dependencies import Dependencies
from asciid.cli._filter import TerminalFilter
from asciid.cli._showing import show
from asciid.client import Client
from asciid.client._progress import Progress
from asciid.store import Lifetimes
from asciid.testing import ManualReactor
from tests.art.sauces import record
from tests.client.worlds import Answered, CountingStore, Lost, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.testing import ManualThreadPool

CAT = " /\\_/\\\n( ö.ö )\n > ^ <\n"
SHA256 = sha256(CAT.encode()).hexdigest()
SERVER = "http://asciid.test"
URL = f"{SERVER}/image/{SHA256}"
LINK = f"{SERVER}/i/{SHA256[:12]}"


class RunningReactor(ManualReactor):
    """A reactor whose `run` advances a world until it is stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World
        self.stopped = False
        self.interrupt_after = -1
        self._exitSignal: int | None = None
        self._triggers: list[Callable[[], object]] = []

    def callWhenRunning(self, call: Callable[[], object]) -> None:
        """Call it in the first turn."""
        self.callLater(0, call)

    def addSystemEventTrigger(
        self, _phase: str, _event: str, call: Callable[[], object]
    ) -> None:
        """Call it at the stop."""
        self._triggers.append(call)

    def getThreadPool(self) -> ManualThreadPool:
        """Return the world's."""
        return self.world.threads

    def run(self) -> None:
        """Run until `stop`; raise a pending interrupt when idle."""
        self.stopped = False
        self.world.settle()
        while not self.stopped:
            asked = len(self.world.network.asked)
            if 0 <= self.interrupt_after <= asked:
                self.stop()
            elif not self.world.pass_time():
                message = "nothing is left to do, and nothing called stop"
                raise AssertionError(message)
            self.world.settle()

    def stop(self) -> None:
        """Stop, by SIGINT or by the program."""
        self.stopped = True
        for call in self._triggers:
            call()
        self._triggers.clear()


class CommandTestCase(SynchronousTestCase):
    """Runs commands against the service in memory."""

    def setUp(self) -> None:
        """Make a world and a directory to work in."""
        self.reactor = RunningReactor()
        self.world = World(reactor=self.reactor)
        self.reactor.world = self.world
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        before = Path.cwd()
        os.chdir(self.directory)
        self.addCleanup(os.chdir, before)
        Path("cat.txt").write_text(CAT, encoding="utf-8")

    def run_command(
        self, *args: str, stdin: str = "", environ: dict[str, str] | None = None
    ) -> Result:
        """Run a command line."""
        dependencies = Dependencies(self.reactor, self.world.network)

        class Main:
            """Adapts our main() to click's runner."""

            name = "asciid"

            def main(self, args: list[str], **_: object) -> None:
                main.main(args, dependencies)

        return CliRunner().invoke(
            Main(),  # type: ignore[arg-type] # see there
            args,
            input=stdin,
            env={
                "ASCIID_SERVER": SERVER,
                "ASCIID_TOKEN": None,
                "XDG_STATE_HOME": str(self.directory / "state"),
                **(environ or {}),
            },
        )

    def output(self, *args: str, **options: Any) -> str:  # noqa: ANN401 - of run_command
        """Run a command that succeeds; return its output."""
        result = self.run_command(*args, **options)
        self.assertEqual((result.exit_code, result.stderr), (0, ""), result.output)
        return result.stdout

    def assert_fails(self, code: int, saying: str, *args: str) -> None:
        """Check that a command line fails with one line."""
        result = self.run_command(*args)
        self.assertEqual(result.exit_code, code, result.output)
        self.assertEqual(result.stdout, "")
        (line,) = result.stderr.splitlines()
        self.assertIn(saying, line)

    def authorizations(self) -> set[str | None]:
        """Return the values of that field in all requests."""
        return {
            fields.getRawHeaders("Authorization", [None])[0]
            for fields in self.world.network.fields
        }


class PutTests(CommandTestCase):
    """``asciid put``."""

    def test_url(self) -> None:
        """It prints the link, and nothing else."""
        self.assertEqual(self.output("put", "cat.txt"), f"{LINK}\n")
        self.assertEqual(self.world.network.asked, [("PUT", f"/image/{SHA256}")])

    def test_standard_input(self) -> None:
        """- is standard input."""
        self.assertEqual(self.output("put", "-", stdin=CAT), f"{LINK}\n")

    def test_pipe(self) -> None:
        """A pipe is as good as a file."""
        os.mkfifo("fifo")
        feeder = Thread(target=lambda: Path("fifo").write_text(CAT, encoding="utf-8"))
        feeder.start()
        self.addCleanup(feeder.join)
        self.assertEqual(self.output("put", "fifo"), f"{LINK}\n")

    def test_several(self) -> None:
        """Several files are uploaded in parallel, and printed in order."""
        names = [f"{number}.txt" for number in range(30)]
        for name in names:
            Path(name).write_text(name * 3, encoding="utf-8")
        printed = self.output("put", "--parallel", "7", *names).split()
        expected = [sha256((name * 3).encode()).hexdigest() for name in names]
        self.assertEqual(printed, [f"{SERVER}/i/{each[:12]}" for each in expected])

    def test_json(self) -> None:
        """--json prints one object per file and line."""
        report = {
            "file": "cat.txt",
            "url": URL,
            "link": LINK,
            "sha256": SHA256,
            "size": 24,
            "new": True,
            "charset": "utf-8",
        }
        self.assertEqual(json.loads(self.output("put", "--json", "cat.txt")), report)

    def stored(self, *args: str) -> str:
        """Upload a file; return what the server has of it."""
        report = json.loads(self.output("put", "--json", *args))
        client = self.world.client
        content: bytes = self.world.finish(client.download(report["sha256"]))
        return content.decode()

    def test_charset(self) -> None:
        """A file in another charset is converted; which one it is, is detected."""
        text = "\x1b[1m░▒▓█ ♥\r\n"
        data = text.replace("♥", "\x03").encode("cp437")
        Path("art.ans").write_bytes(data)
        Path("art.bin").write_bytes("naïve\n".encode("cp1252"))
        self.assertEqual(self.stored("art.ans"), text)
        self.assertEqual(self.stored("--charset", "CP437", "art.ans"), text)
        self.assertEqual(self.stored("--charset", "latin1", "art.bin"), "naïve\n")
        Path("art.ans").write_bytes(data + record("Title"))
        report = json.loads(self.output("put", "--json", "--chunked", "art.ans"))
        self.assertEqual(report["sha256"], sha256(text.encode()).hexdigest())
        self.assertEqual((report["charset"], report["new"]), ("cp437", False))

    def about(self, *args: str) -> tuple[str, str, str]:
        """Upload a file; return what the server has as title, author and charset."""
        report = json.loads(self.output("put", "--json", *args))
        record = self.world.finish(self.world.store.about(report["sha256"]))
        return record.about.title, record.about.author, record.charset

    def test_about(self) -> None:
        """Title, author, and how to show the text are those of the SAUCE record."""
        Path("dir").mkdir()
        path = "dir/Ein Fisch\x1b\u202e.ans"
        data = b"\x1b[5m\xdb"
        for option in ("--whole", "--chunked"):
            Path(path).write_bytes(data + option.encode())
            about = self.about(option, path)
            self.assertEqual(about, ("Ein Fisch.ans", "", "cp437; columns=80"))
            sauce = record("Größe", "me", numbers=(160, 0, 0, 0), flags=1)
            Path(path).write_bytes(data + option.encode() + b"." + sauce)
            about = self.about(option, path)
            self.assertEqual(about, ("Größe", "me", "cp437; columns=160; ice"))
        Path(path).write_bytes(data + record("", "", "them"))
        about = self.about(path)
        self.assertEqual(about, ("Ein Fisch.ans", "them", "cp437; columns=80"))
        name = f"{'ö' * 120}.txt"
        Path(name).write_text("a long name", encoding="utf-8")
        self.assertEqual(self.about(name), ("ö" * 100, "", ""))

    def test_nothing_about_standard_input(self) -> None:
        """Text from standard input has no title."""
        report = json.loads(self.output("put", "--json", "-", stdin=CAT))
        record = self.world.finish(self.world.store.about(report["sha256"]))
        self.assertEqual((record.about.title, record.charset), ("", ""))

    def test_exact(self) -> None:
        """A file that is said to be UTF-8 is sent byte for byte."""
        text = "\ufeff▀\x1a"
        Path("art.nfo").write_text(text + record().decode("ascii"), encoding="utf-8")
        self.assertEqual(self.stored("art.nfo"), "▀")
        exact = self.stored("--charset=utf-8", "art.nfo")
        self.assertEqual(exact, text + record().decode("ascii"))

    def test_large_charset(self) -> None:
        """A large file is converted in a thread, and sent in chunks."""
        Path("art.nfo").write_bytes(b"\xdb" * 500_000)
        self.assertEqual(self.stored("art.nfo"), "█" * 500_000)
        self.assertGreater(len(self.world.store.sent), 1)
        # A file in UTF-8 is sent as it is.
        Path("art.txt").write_text("█" * 500_000, encoding="utf-8")
        self.assertFalse(json.loads(self.output("put", "--json", "art.txt"))["new"])

    def test_unknown_charset(self) -> None:
        """A charset that does not exist is an error of the command line."""
        self.assert_fails(
            2, "known charsets are auto, ", "put", "--charset=x", "cat.txt"
        )
        self.assert_fails(2, "cp437", "put", "--charset=rot13", "cat.txt")

    def test_no_file(self) -> None:
        """A file that cannot be opened is named once, with the reason in words."""
        Path("directory").mkdir()
        for name, reason in (
            ("nosuch", "No such file or directory"),
            ("directory", "Is a directory"),
        ):
            result = self.run_command("put", name, "cat.txt")
            self.assertEqual((result.exit_code, result.stdout), (1, f"{LINK}\n"))
            self.assertEqual(result.stderr, f"asciid: {name}: {reason}\n")

    def test_never_stored(self) -> None:
        """A file that can never be stored has a code, a place, and what to type."""
        Path("a.txt").write_bytes(b"na\xefve")
        place = "a.txt: not UTF-8 text: invalid byte 0xEF at offset 2"
        options = "--charset windows-1252 or --charset cp437"
        self.assert_fails(4, f"{place}; try {options}", "put", "a.txt")
        advice = "not UTF-8 text: invalid byte at offset 2; convert it first"
        self.assert_fails(4, advice, "put", "--charset=utf8", "a.txt")
        Path("a.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
        self.assert_fails(4, "binary data", "put", "a.png")
        Path("empty").touch()
        Path("ended").write_bytes(b"\x1a")
        for name in ("empty", "ended"):
            line = f"{name}: the file has no text; nothing was stored"
            self.assert_fails(4, line, "put", name)
        self.assert_fails(4, "no text", "put", "--charset=utf-8", "empty")
        result = self.run_command("put", "-", stdin="")
        self.assertEqual((result.exit_code, result.stdout), (4, ""))
        self.assertIn("asciid: -: the file has no text", result.stderr)
        Path("big").write_bytes(bytes(LARGEST_CONVERTED) + b"\xff")
        self.assert_fails(4, "too large to convert", "put", "--charset=437", "big")
        self.assert_fails(
            4, "invalid byte at offset 4194304; convert it first", "put", "big"
        )
        Path("fish").write_text("▀" * 9, encoding="utf-8")
        self.assert_fails(4, "splits a character", "put", "--chunk-size=4", "fish")

    def test_ways(self) -> None:
        """Options select chunks, their size, or one request."""
        self.output("put", "--chunk-size", "15", "cat.txt")
        self.assertEqual(sorted(self.world.store.sent), [0, 1])
        Path("dog").write_text("dog", encoding="utf-8")
        self.output("put", "--chunked", "dog")
        self.assertEqual(sorted(self.world.store.sent), [0, 0, 1])
        Path("big").write_text("cow" * 400_000, encoding="utf-8")
        self.output("put", "--whole", "big")
        self.assertEqual(sorted(self.world.store.sent), [0, 0, 1])
        self.assert_fails(
            2, "mutually exclusive", "put", "--whole", "--chunk-size=1", "big"
        )
        self.assert_fails(2, "chunk-size", "put", "--chunk-size=x", "big")

    def test_failures(self) -> None:
        """A file that fails does not stop the others, but shows in the code."""
        Path("bytes").write_bytes(b"\xff")
        result = self.run_command("put", "none", "cat.txt", "bytes")
        self.assertEqual((result.exit_code, result.stdout), (1, f"{LINK}\n"))
        first, second = result.stderr.splitlines()
        self.assertIn("asciid: none: ", first)
        self.assertIn("asciid: bytes: not UTF-8 text", second)
        self.world.network.always(Answered(401, b'{"detail": "Who are you?"}'))
        self.assert_fails(4, "cat.txt: Who are you?", "put", "cat.txt")
        # Control characters are not printed.
        evil = b'{"detail": "Go\\u001b[2J \\n away\\u009b"}'
        self.world.network.always(Answered(401, evil))
        for command in (["put", "cat.txt"], ["status", SHA256]):
            self.assert_fails(4, "Go?[2J away?", *command)

    def test_changed(self) -> None:
        """A file that changes to invalid UTF-8 fails, in chunks or whole."""
        for way in ("--whole", "--chunked"):
            path = Path(f"art{way}")
            path.write_bytes(b"cow" * 50_000)

            def faults(_method: str, _path: str) -> None:
                path.write_bytes(b"\xff" * 150_000)  # noqa: B023 - it runs in this turn

            self.world.network.faults = faults
            self.assert_fails(1, "changed during", "put", way, str(path))

    def test_no_standard_input(self) -> None:
        """Standard input is read once, and only if there is one."""
        self.assert_fails(2, "once", "put", "-", "cat.txt", "-")
        self.patch(sys, "stdin", None)
        from asciid.cli.put import _source  # noqa: PLC0415 - with this stdin

        with ExitStack() as stack, self.assertRaises(UsageError):
            _source("-", stack)

    def test_no_pipe(self) -> None:
        """A pipe that cannot be read ends it in one line."""
        os.mkfifo("pipe")

        def refused(*_: object) -> None:
            raise PermissionError(13, "Permission denied", "pipe")

        self.patch(Path, "open", refused)
        self.assert_fails(1, "pipe: Permission denied", "put", "pipe")

    def test_token(self) -> None:
        """A token is read from a file or the environment."""
        self.output("put", "cat.txt", environ={"ASCIID_TOKEN": "secret"})
        Path("token").write_text("other\n", encoding="utf-8")
        self.output("put", "--token-file", "token", "cat.txt")
        self.assertEqual(self.authorizations(), {"Bearer secret", "Bearer other"})
        for wrong in (b"", b"two words", b"\xff", b"a\nb", b"a\0b", b'"a"', b"=a"):
            Path("token").write_bytes(wrong)
            message = "token does not hold one token"
            self.assert_fails(1, message, "put", "--token-file=token", "cat.txt")
        message = "/dev/zero does not hold one token"
        self.assert_fails(1, message, "put", "--token-file=/dev/zero", "cat.txt")

    def test_token_that_is_none(self) -> None:
        """One in the environment is checked as one in a file is, and never shown."""
        for wrong in ("two words", "a\nb", "a\rb", "\udcff", "\u00e9", '"a"', "=a"):
            for command in (["put", "cat.txt"], ["rm", SHA256]):
                result = self.run_command(*command, environ={"ASCIID_TOKEN": wrong})
                message = "asciid: ASCIID_TOKEN does not hold one token\n"
                self.assertEqual((result.exit_code, result.stderr), (1, message))
        self.assertEqual(self.authorizations(), set())
        for wrong in ("two words", "a\r\nHost: b", "\udcff"):
            with self.assertRaises(ValueError) as raised:
                Client(SERVER, token=wrong, agent=self.world.network)
            self.assertNotIn(wrong, str(raised.exception))

    def test_interrupt(self) -> None:
        """Interrupted, it prints how to resume; that sends only the missing chunks."""
        Path("a b").write_text("cow\n" * 300, encoding="utf-8")
        store = self.world.store
        self.reactor.interrupt_after = 4
        self.world.network.faults = lambda *_: (
            None if len(self.world.network.asked) < 4 else Lost()
        )
        result = self.run_command("put", "--chunk-size", "100", "a b")
        self.assertEqual((result.exit_code, result.stdout), (130, ""))
        again = "asciid put --server http://asciid.test --chunk-size 100 -- 'a b'"
        self.assertIn(f"\n  {again}\n", result.stderr)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        stored = len(store.sent)
        self.assertGreater(stored, 0)
        self.reactor.interrupt_after = -1
        self.world.network.always(None)
        self.output("put", "--chunk-size", "100", "--", "a b")
        self.assertEqual(sorted(store.sent), list(range(12)))

    def test_interrupt_safe(self) -> None:
        """Control characters in a name are escaped for the shell."""
        name = os.fsdecode(b"a\x1b[2J'\\  \xc3\xb6\xff")
        Path(name).write_text(CAT, encoding="utf-8")
        self.reactor.interrupt_after = 0
        self.world.network.always(Lost())
        stderr = self.run_command("put", name).stderr
        self.assertTrue(all(c.isprintable() or c == "\n" for c in stderr), stderr)
        (again,) = re.findall(r" -- (.*)\n", stderr)
        self.assertEqual(again, r"$'a\033[2J\047\134  ö\377'")
        bash = subprocess.run(
            ["bash", "-c", f"cat -- {again}"],
            check=True,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            stdout=subprocess.PIPE,
            timeout=60,
        )
        self.assertEqual(bash.stdout.decode(), CAT)

    def test_usage_safe(self) -> None:
        """The same holds for the errors of a wrong command line."""
        Path("a\x1bb").write_bytes(b"")
        self.assert_fails(1, "a?b does not", "put", "--token-file=a\x1bb", "cat.txt")

    def test_terminated(self) -> None:
        """SIGTERM has its own text and exit code."""
        self.output("put", "cat.txt")
        self.patch(self.reactor, "_exitSignal", signal.SIGTERM)
        self.world.network.always(Lost())
        for command in (("put", "cat.txt"), ("get", SHA256)):
            self.world.network.asked.clear()
            self.reactor.interrupt_after = 1
            result = self.run_command(*command)
            self.assertEqual((result.exit_code, result.stdout), (143, ""))
            self.assertIn("asciid: terminated; ", result.stderr)

    def test_interrupt_whole(self) -> None:
        """An upload in one request starts again, and says so."""
        self.world.network.asked.clear()
        self.reactor.interrupt_after = 1
        self.world.network.always(Lost())
        options = ["--charset", "utf8", "--whole", "--json"]
        result = self.run_command("put", *options, "cat.txt")
        self.assertEqual((result.exit_code, result.stdout), (130, ""))
        again = f"asciid put --server {SERVER} {' '.join(options)} -- cat.txt"
        self.assertIn(f"to start again:\n  {again}\n", result.stderr)

    def test_server(self) -> None:
        """A server that is no URL is an error of the command line."""
        self.assert_fails(2, "is not a URL", "put", "--server", "art", "cat.txt")


class GetTests(CommandTestCase):
    """``asciid get`` and ``asciid cat``."""

    def setUp(self) -> None:
        """Have an image."""
        super().setUp()
        self.output("put", "cat.txt")

    def test_get(self) -> None:
        """The image becomes a file, whose name is printed."""
        self.assertEqual(self.output("get", SHA256), f"{SHA256}.txt\n")
        self.assertEqual(Path(f"{SHA256}.txt").read_text(encoding="utf-8"), CAT)
        self.assertEqual(self.output("get", URL, "-o", "copy"), "copy\n")
        self.assertEqual(Path("copy").read_text(encoding="utf-8"), CAT)
        self.assertEqual(self.output("get", SHA256.upper(), "-o", "-"), CAT)

    def test_url(self) -> None:
        """A URL names the server."""
        self.assertEqual(
            self.output("cat", URL, environ={"ASCIID_SERVER": "http://other"}), CAT
        )
        for wrong in ("cat", f"{SERVER}/images/{SHA256}", f"ftp:///image/{SHA256}"):
            self.assert_fails(2, "", "cat", wrong)

    def test_directory(self) -> None:
        """Where a directory is, the file is put into it."""
        Path("art").mkdir()
        for name, path in (("art", f"art/{SHA256}.txt"), (".", f"{SHA256}.txt")):
            self.assertEqual(self.output("get", SHA256, "-o", name), f"{path}\n")
            self.assertEqual(Path(path).read_text(encoding="utf-8"), CAT)

    def test_stream(self) -> None:
        """A device or a pipe is written to and not replaced."""
        self.assertEqual(self.output("get", SHA256, "-o", "/dev/null"), "")
        self.assertTrue(Path("/dev/null").is_char_device())
        os.mkfifo("pipe")
        received: list[str] = []
        reading = Thread(
            target=lambda: received.append(Path("pipe").read_text(encoding="utf-8"))
        )
        reading.start()
        self.addCleanup(reading.join)
        self.assertEqual(self.output("get", SHA256, "-o", "pipe"), "")
        reading.join(30)
        self.assertEqual(received, [CAT])

    def test_full(self) -> None:
        """If the image cannot be written, the error is one line."""
        message = "asciid: No space left on device"
        self.assert_fails(1, message, "get", SHA256, "-o", "/dev/full")

    def test_name_is_bytes(self) -> None:
        """A file name that is not UTF-8 is printed unchanged."""
        name = os.fsdecode(b"cat\xff")
        result = self.run_command("get", SHA256, "-o", name)
        self.assertEqual((result.exit_code, result.stderr), (0, ""))
        self.assertEqual(result.stdout_bytes, b"cat\xff\n")

    def test_not_found(self) -> None:
        """An image that is not there has an exit code of its own."""
        for command in (["get"], ["cat"], ["get", "-o", "-"], ["status"]):
            self.assert_fails(3, "not registered", *command, "0" * 64)

    def test_interrupt(self) -> None:
        """Interrupted, it says how to resume."""
        self.world.network.asked.clear()
        self.reactor.interrupt_after = 1
        self.world.network.always(Lost())
        for command in (["get"], ["get", "-o", "-"], ["cat"]):
            result = self.run_command(*command, SHA256)
            self.assertEqual((result.exit_code, result.stdout), (130, ""))
        self.assertIn(
            "run the same command to resume", self.run_command("get", SHA256).stderr
        )

    def test_cat_is_safe(self) -> None:
        """Control sequences are obeyed or dropped whole, unless --raw is given."""
        art = (
            "\x1b[31mred\x1b[0m\ttab\r\n\x07\x1b]0;title\x07a\x1b[10CX\x1b[6n\n"
            "\x1bPq#0\x1b\\\x9d52;c;eA==\x9ccopy\u202etxt\x1b"
        )
        Path("evil").write_text(art, encoding="utf-8", newline="")
        self.output("put", "evil")
        digest = sha256(art.encode()).hexdigest()
        self.assertEqual(
            self.output("cat", digest),
            "\x1b[0;31mred\x1b[0m     tab\na          X\ncopytxt\n",
        )
        raw = self.run_command("cat", "--raw", digest).stdout_bytes
        self.assertEqual(raw, art.encode())

    def test_cat_by_origin(self) -> None:
        """Converted art wraps at its width, and has its iCE colours."""
        data = b"\x1b[5;41m\xdb\xdb\xdb" + record(numbers=(2, 0, 0, 0), flags=1)
        Path("art.ans").write_bytes(data)
        self.output("put", "art.ans")
        text = "\x1b[5;41m███"
        digest = sha256(text.encode()).hexdigest()
        shown = "\x1b[0;101m██\x1b[0m\n\x1b[0;101m█\x1b[0m\n"
        self.assertEqual(self.output("cat", digest), shown)
        # A server that knows nothing about the image: an older one.
        about = ("GET", f"/image/{digest}/about")
        self.world.network.always(Answered(404, b""), about)
        self.assertEqual(self.output("cat", digest), "\x1b[0;5;41m███\x1b[0m\n")

    def test_cat_plain(self) -> None:
        """Text without control characters is printed as it is."""
        for text in ("a  \n\tb", "\n", "日本\n"):
            Path("plain").write_text(text, encoding="utf-8")
            self.output("put", "plain")
            digest = sha256(text.encode()).hexdigest()
            self.assertEqual(self.output("cat", digest), text)

    def test_cat_large(self) -> None:
        """Art beyond the limits of rendering is printed with its colours."""
        rows = "\x1b[31mred\x1b[0m\x1b[9C\r\n"
        for text in (rows * 20_000, rows + "x" * 5_000_000):
            Path("large").write_text(text, encoding="utf-8", newline="")
            self.output("put", "large")
            digest = sha256(text.encode()).hexdigest()
            shown = self.output("cat", digest)
            self.assertEqual(shown, text.replace("\x1b[9C\r", "[9C"))

    @given(st.lists(st.text("\x1b[1;m\x9b\x00a\n", max_size=5)))
    def test_filter_pieces(self, pieces: list[str]) -> None:
        """However a text is cut, the same of it is shown."""
        whole, cut = TerminalFilter(), TerminalFilter()
        shown = "".join(map(cut.pass_on, pieces)) + cut.pass_on("", last=True)
        self.assertEqual(shown, whole.pass_on("".join(pieces), last=True))
        self.assertEqual(cut.coloured, whole.coloured)

    def test_colours_end(self) -> None:
        """On a terminal, colours do not outlast the image."""
        out = io.StringIO()
        self.patch(out, "isatty", lambda: True)
        self.patch(sys, "stdout", out)
        show(io.BytesIO(b"\x1b[31mred"), Origin())
        self.assertEqual(out.getvalue(), "\x1b[0;31mred\x1b[0m\n")

    def test_colours_end_of_large_art(self) -> None:
        """The same holds for art that is too large to be rendered."""
        out = io.StringIO()
        self.patch(out, "isatty", lambda: True)
        self.patch(sys, "stdout", out)
        self.patch(_showing, "_LONGEST", 3)
        show(io.BytesIO(b"\x1b[31mred"), Origin())
        self.assertEqual(out.getvalue(), "\x1b[31mred\x1b[0m")

    def test_colours_of_terminal(self) -> None:
        """Colours are those that the terminal has; a file gets all."""
        art = b"\x1b[38;2;170;0;1mX"
        for terminal, environ, shown in (
            (False, {"TERM": "dumb"}, "\x1b[0;38;2;170;0;1mX\x1b[0m\n"),
            (True, {"COLORTERM": "truecolor"}, "\x1b[0;38;2;170;0;1mX\x1b[0m\n"),
            (True, {"TERM": "xterm-256color"}, "\x1b[0;38;5;124mX\x1b[0m\n"),
            (True, {"TERM": "linux"}, "\x1b[0;31mX\x1b[0m\n"),
            (True, {"TERM": "dumb"}, "X\n"),
            (True, {}, "X\n"),
        ):
            out = io.StringIO()
            self.patch(out, "isatty", lambda terminal=terminal: terminal)
            self.patch(sys, "stdout", out)
            with patch.dict(os.environ, environ, clear=True):
                show(io.BytesIO(art), Origin())
            self.assertEqual(out.getvalue(), shown)

    def test_origin(self) -> None:
        """Rows wrap at the width; blinking is a bright ground with iCE colours."""
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        show(io.BytesIO(b"abcd"), Origin(columns=3))
        show(io.BytesIO(b"\x1b[5;41mX"), Origin(ice_colours=True))
        self.assertEqual(out.getvalue(), "abc\nd\n\x1b[0;101mX\x1b[0m\n")

    def test_poor_terminal(self) -> None:
        """Characters that a terminal does not have are replaced."""
        shown = io.BytesIO()
        out = io.TextIOWrapper(shown, encoding="ascii")
        self.patch(sys, "stdout", out)
        show(io.BytesIO(CAT.encode()), Origin())
        self.assertEqual(shown.getvalue().decode(), CAT.replace("ö", "?"))


class ImageTests(CommandTestCase):
    """``asciid status``, ``asciid rm`` and ``asciid completion``."""

    def test_status(self) -> None:
        """It prints the status as a sentence or as JSON."""
        finish, client = self.world.finish, self.world.client
        finish(client.register(SHA256, 24, 15))
        self.assertIn(
            "pending: 0 of 24 bytes; 2 of 2 chunks", self.output("status", URL)
        )
        report = json.loads(self.output("status", "--json", SHA256))
        self.assertEqual((report["state"], report["missing"]), ("pending", [[0, 1]]))
        finish(client.put(CAT.encode()))
        self.assertIn("complete: 24 bytes, ", self.output("status", SHA256))

    def test_status_has_every_member(self) -> None:
        """``--json`` has each member of the service's document, with its value."""
        self.world = World(
            store=CountingStore(lifetimes=Lifetimes(upload=90)), reactor=self.reactor
        )
        self.reactor.world = self.world
        finish, client = self.world.finish, self.world.client
        finish(client.register(SHA256, 24, 15))
        self.assert_reported({"completed"})
        finish(client.put(CAT.encode()))
        self.assert_reported({"expires"})

    def assert_reported(self, absent: set[str]) -> None:
        """Compare a report with the document; the members in `absent` are null."""
        path = ("image", SHA256, "chunks")
        transport = self.world.client._calls.transport
        asking = Deferred.fromCoroutine(transport.once("GET", path))
        document = json.loads(self.world.finish(asking).body)
        self.assertEqual({name for name in document if document[name] is None}, absent)
        for moment in {"created", "completed", "expires"} - absent:
            exact = datetime.fromisoformat(document[moment])
            document[moment] = exact.isoformat(timespec="seconds")
        report = json.loads(self.output("status", "--json", SHA256))
        self.assertEqual(report, document)

    def test_status_completed(self) -> None:
        """The time of completion is printed, if the server reports it."""
        document = {
            "sha256": SHA256,
            "size": 9,
            "chunk_size": 1,
            "state": "complete",
            "received": 9,
            "missing": [],
            "missing_cut": False,
            "created": "2024-01-01T00:00:00Z",
            "expires": None,
        }
        for member, ending in (
            (
                {"completed": "2024-01-01T00:00:09.5Z"},
                ", completed 2024-01-01T00:00:09+00:00",
            ),
            ({}, ""),
        ):
            body = json.dumps({**document, **member}).encode()
            self.world.network.always(Answered(200, body))
            self.assertEqual(
                self.output("status", SHA256),
                f"complete: 9 bytes, registered 2024-01-01T00:00:00+00:00{ending}\n",
            )

    def test_status_expires(self) -> None:
        """It prints when an upload expires."""
        document = {
            "sha256": SHA256,
            "size": 9,
            "chunk_size": 1,
            "state": "pending",
            "received": 2,
            "missing": [[1, 3]],
            "missing_cut": True,
            "created": "2024-01-01T00:00:00Z",
            "expires": "2024-01-02T00:00:00Z",
        }
        self.world.network.always(Answered(200, json.dumps(document).encode()))
        said = self.output("status", SHA256)
        self.assertIn("at least 3 of 9 chunks", said)
        self.assertIn("2024-01-02T00:00:00+00:00", said)
        report = json.loads(self.output("status", "--json", SHA256))
        self.assertEqual(report["expires"], "2024-01-02T00:00:00+00:00")

    def test_rm(self) -> None:
        """It removes images with a token, of one server at a time."""
        self.world.network.always(Answered(204))
        environ = {"ASCIID_TOKEN": "secret"}
        self.assertEqual(self.output("rm", SHA256, "0" * 64, environ=environ), "")
        self.assertEqual([m for m, _ in self.world.network.asked], ["DELETE"] * 2)
        self.assertEqual(self.authorizations(), {"Bearer secret"})
        other = f"http://other/image/{SHA256}"
        self.assert_fails(2, "one server", "rm", SHA256, other)
        self.world.network.always(Answered(401))
        self.assert_fails(4, "401", "rm", SHA256)
        self.world.network.always(Answered(404))
        self.assert_fails(3, "404", "rm", SHA256)

    def test_unavailable(self) -> None:
        """Failures of the server and refusals have different exit codes."""
        self.world.network.always(Answered(500))
        self.assert_fails(1, "500", "status", SHA256)
        self.world.network.always(Lost())
        self.assert_fails(1, "lost", "status", SHA256)

    def test_completion(self) -> None:
        """Each shell gets its script, and the script gets completions."""
        for shell in ("bash", "zsh", "fish"):
            self.assertIn("_ASCIID_COMPLETE", self.output("completion", shell))
        environ = {
            "_ASCIID_COMPLETE": "bash_complete",
            "COMP_WORDS": "asciid st",
            "COMP_CWORD": "1",
        }
        self.assertEqual(self.run_command(environ=environ).stdout, "plain,status\n")
        for words in (
            "put",
            "get -o",
            "put --token-file",
            "open",
            "rm --edit-key-file",
        ):
            environ["COMP_WORDS"] = f"asciid {words} ca"
            environ["COMP_CWORD"] = str(1 + len(words.split()))
            self.assertEqual(self.run_command(environ=environ).stdout, "file,ca\n")

    def test_full_output(self) -> None:
        """If standard output fails, there is one line and an exit code."""
        with Path("/dev/full").open("wb") as full:
            ended = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "asciid",
                    "completion",
                    "fish",
                ],
                check=False,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(sys.path)},
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=60,
            )
        self.assertEqual(ended.returncode, 1)
        self.assertRegex(ended.stderr, rb"\Aasciid: No space left on device\n\Z")

    def test_trying_again(self) -> None:
        """On a terminal, a command without a bar reports its first retry."""
        self.world.network.always(Lost())
        self.assert_fails(1, "was lost", "status", SHA256)
        self.patch(_server, "is_terminal", lambda: True)
        for command in ("status", "rm", "cat", "get"):
            result = self.run_command(command, SHA256)
            first, last = result.stderr.splitlines()
            self.assertEqual(first, f"{last} (retrying)")


class BarTests(SynchronousTestCase):
    """The sums of the progress bar; tests.cli.test_terminal has its display."""

    def test_shown(self) -> None:
        """On a terminal it shows bytes, rate and retries, and is erased at the end."""
        out = io.StringIO()
        self.patch(out, "isatty", lambda: True)
        for stream in ("stdout", "stderr"):
            self.patch(sys, stream, out)
        self.patch(os, "environ", {"TERM": "xterm", "COLUMNS": "100"})
        clock = Clock()
        bar = Bar("cat.txt", 3_000)
        follow = bar.image()
        with bar.showing(clock):
            follow(Progress(1_000, 3_000, 0))
            clock.advance(1)
            self.assertRegex(out.getvalue(), r"cat\.txt.*1\.0/3\.0 kB")
            self.assertNotIn("retries", out.getvalue())
            follow(Progress(2_000, 3_000, 4))
            clock.advance(1)
            self.assertIn("4 retries", out.getvalue())
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_echo(self) -> None:
        """Output is printed above the bar."""
        out = io.StringIO()
        self.patch(out, "isatty", lambda: True)
        for stream in ("stdout", "stderr"):
            self.patch(sys, stream, out)
        self.patch(os, "environ", {"TERM": "xterm", "COLUMNS": "100"})
        bar = Bar("cat.txt", 3_000)
        with bar.showing(Clock()):
            bar.echo("the URL\n")
            bar.echo("")
            self.assertTrue(out.getvalue().endswith("\r\x1b[2Kthe URL\n"))
        with_bar = out.getvalue()
        bar.echo("another\n")
        self.assertEqual(out.getvalue(), f"{with_bar}another\n")

    def test_long_name(self) -> None:
        """A name as long as a hash leaves room for the figures on 80 columns."""
        out = io.StringIO()
        self.patch(out, "isatty", lambda: True)
        for stream in ("stdout", "stderr"):
            self.patch(sys, stream, out)
        self.patch(os, "environ", {"TERM": "xterm", "COLUMNS": "80"})
        clock = Clock()
        bar = Bar(f"{'0' * 64}.txt", 3_000)
        with bar.showing(clock):
            bar.image()(Progress(1_000, 3_000, 4))
            clock.advance(1)
            self.assertRegex(out.getvalue(), r"1\.0/3\.0 kB.*4 retries")

    def test_no_rich(self) -> None:
        """Without rich it prints once what is missing."""
        out = io.StringIO()
        self.patch(out, "isatty", lambda: True)
        for stream in ("stdout", "stderr"):
            self.patch(sys, stream, out)
        missing = patch.dict(sys.modules, {"rich.console": None})
        missing.start()
        self.addCleanup(missing.stop)
        sys.modules.pop("asciid.cli._rich_bar", None)
        with Bar("cat.txt", 3_000).showing(Clock()):
            self.assertIn("pip install 'asciid[client]'", out.getvalue())

    def test_name(self) -> None:
        """Names are shown in printable characters."""
        out = io.StringIO()
        self.patch(out, "isatty", lambda: True)
        for stream in ("stdout", "stderr"):
            self.patch(sys, stream, out)
        self.patch(os, "environ", {"TERM": "xterm", "COLUMNS": "100"})
        with Bar("a\x1b[5nb", 3_000).showing(Clock()):
            pass
        self.assertIn("a?[5nb", out.getvalue())

    def test_sum(self) -> None:
        """It shows all images as one."""
        bar = Bar("cats", None)
        first, second = bar.image(), bar.image()
        first(Progress(1, 10, 0))
        second(Progress(2, 20, 1))
        first(Progress(5, 10, 3))
        self.assertEqual(bar.now, Progress(7, 30, 4))
        self.assertEqual(Bar("cats", 50).now, Progress(0, 50, 0))

    def test_resized(self) -> None:
        """The total counts the bytes that are sent, not those of the files."""
        bar = Bar("cats", 50)
        bar.resize(9)
        bar.resize(-1)
        self.assertEqual(bar.now, Progress(0, 58, 0))
        bar = Bar("cats", None)
        bar.resize(9)
        self.assertEqual(bar.now, Progress(0, 0, 0))
