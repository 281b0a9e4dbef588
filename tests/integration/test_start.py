"""Starts that cannot succeed, and their messages."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb
from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.lmdb._records import FORMAT_KEY
from tests.integration._daemon import ANY_PORT, ROOT, environment, twistd, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence


@frozen
class End:
    """How a process ended."""

    code: int
    stdout: str
    stderr: str


class RefusedStartTests(SynchronousTestCase):
    """Each ends with exit code 1 and one line on stderr with the reason."""

    def setUp(self) -> None:
        """Make an empty directory."""
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()

    def run_twistd(self, *arguments: str, **environ: str) -> End:
        """Run twistd until it ends."""
        return self.run_command(twistd(*arguments), **environ)

    def run_command(self, command: Sequence[str], **environ: str) -> End:
        """Run a command until it ends."""
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=environment(**{"ASCIID_PORT": ANY_PORT, **environ}),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        return End(done.returncode, done.stdout, done.stderr)

    def assert_refused(self, what: str, *options: str, **environ: str) -> None:
        """Check that the start fails with one line that holds `what`."""
        end = self.run_twistd("--nodaemon", "--pidfile=", "asciid", *options, **environ)
        self.assert_one_line(end, what)

    def assert_one_line(self, end: End, what: str, code: int = 1) -> None:
        """Check that the one line on stderr holds `what`, without a traceback."""
        self.assertEqual(end.code, code, end)
        (line,) = end.stderr.splitlines()
        self.assertTrue(line.startswith("asciid: "), line)
        self.assertIn(what, line)
        self.assertNotIn("Traceback", end.stdout)

    def test_failure_after_the_start(self) -> None:
        """An unexpected error is logged with a traceback; the exit code is 1."""
        # There is no such error: it is injected.
        program = (
            "import sys\n"
            "from {module} import {owner}\n"
            "from twisted.scripts.twistd import run\n"
            "async def fail(*_):\n"
            "    raise ZeroDivisionError\n"
            "{owner}.{method} = fail\n"
            "sys.argv[0] = 'twistd'\n"
            "run()\n"
        )
        for workers, module, owner, method in (
            (1, "asciid.store", "ImageStore", "usage"),
            (2, "asciid.workers._processes", "Processes", "start"),
        ):
            code = program.format(module=module, owner=owner, method=method)
            arguments = [
                "--nodaemon",
                "--pidfile=t.pid",
                "asciid",
                f"--workers={workers}",
            ]
            end = self.run_command([sys.executable, "-P", "-c", code, *arguments])
            self.assertEqual(end.code, 1, end)
            self.assertIn("ZeroDivisionError", end.stdout)
            self.assertFalse((self.directory / "t.pid").exists())

    def test_port_in_use(self) -> None:
        """Another process listens there."""
        with closing(socket.create_server(("127.0.0.1", 0))) as other:
            port = f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"
            self.assert_refused("Address already in use", f"--port={port}")
        self.assertFalse((self.directory / "asciid-storage").exists())

    def test_mistakes(self) -> None:
        """An option is unknown, or it or a variable has a value of no use."""
        (self.directory / "file").touch()
        self.assert_refused("--max-chunk-size: '1x'", "--max-chunk-size=1x")
        self.assert_refused("--colour", "--colour=red")
        self.assert_refused("cannot read a b\\x1b: No such", "--config=a\nb\x1b")
        self.assert_refused("cannot use the storage file/\\x1b", "--storage=file/\x1b")
        self.assert_refused("ASCIID_MAX_IMAGE_SIZE: 'big'", ASCIID_MAX_IMAGE_SIZE="big")

    def test_database(self) -> None:
        """A mistake in the address of a database ends with 2, which is not retried."""
        url = "postgresql://u:hunter2@127.0.0.1:1/art"
        for options, environ, what in [
            (["--storage", url], {}, "--storage: password on the command line"),
            ([], {"ASCIID_STORAGE": f"{url}?sslmode=on"}, "ASCIID_STORAGE: invalid"),
        ]:
            for mode in ("--nodaemon", "--pidfile=twistd.pid"):
                end = self.run_twistd(mode, "asciid", *options, **environ)
                self.assert_one_line(end, what, code=2)
                self.assertNotIn("hunter2", end.stdout + end.stderr)
        tac = str(ROOT / "asciid.tac")
        end = self.run_twistd("-n", "--pidfile=", "-y", tac, ASCIID_STORAGE=f"{url}?x")
        self.assert_one_line(end, "ASCIID_STORAGE: invalid URL", code=2)
        two = {"ASCIID_STORAGE": url, "ASCIID_WORKERS": "2"}
        end = self.run_twistd("--nodaemon", "--pidfile=", "asciid", **two)
        self.assert_one_line(end, "start one daemon per core behind a balancer")

    def test_mistake_without_options(self) -> None:
        """A variable has a value of no use to asciid.tac."""
        tac = str(ROOT / "asciid.tac")
        end = self.run_twistd("-n", "--pidfile=", "-y", tac, ASCIID_NO_SYNC="perhaps")
        self.assert_one_line(end, "ASCIID_NO_SYNC: 'perhaps'")

    def test_storage_is_a_file(self) -> None:
        """The storage is no directory, or cannot be made."""
        path = self.directory / "file"
        path.touch()
        self.assert_refused(f"cannot use the storage {path}: ", f"--storage={path}")
        below = path / "below"
        self.assert_refused("Not a directory", f"--storage={below}")

    def test_storage_of_another_version(self) -> None:
        """The storage was written by a later release."""
        path = str(self.directory / "new")
        with closing(lmdb.open(path)) as env, env.begin(write=True) as transaction:
            transaction.put(FORMAT_KEY, b"99")
        self.assert_refused("has the storage format 99", "--storage=new")

    def test_storage_of_something_else(self) -> None:
        """The storage directory holds a file that is not LMDB's."""
        storage = self.directory / "other"
        storage.mkdir()
        (storage / "data.mdb").write_bytes(b"not a storage file" * 1000)
        self.assert_refused("does not hold asciid images", "--storage=other")

    def test_workers(self) -> None:
        """So do several processes, and none of them is left."""
        self.assert_refused("cannot be shared", "--workers=2", "--storage=:memory:")
        (self.directory / "tokens").write_text("no token\n")
        tokens = ("--storage=good", "--write-token-file=tokens")
        self.assert_refused("line 1: malformed token", "--workers=2", *tokens)
        (self.directory / "file").touch()
        self.assert_refused("cannot use the storage", "--workers=2", "--storage=file")

    def test_in_the_background(self) -> None:
        """A twistd that is to daemonize reports it, too, and exits."""
        (self.directory / "file").touch()
        end = self.run_twistd("--logfile=log", "asciid", "--storage=file")
        self.assertEqual(end.code, 1)
        self.assertIn("asciid: cannot use the storage file: ", end.stderr)
        log = (self.directory / "log").read_text()
        self.assertIn("asciid: cannot use the storage file: ", log)
        pid_file = self.directory / "twistd.pid"
        # The process that was started exits once the one in the background reports.
        wait_until(lambda: not pid_file.exists(), "the PID file is kept")
