"""One owner a storage: real daemons and commands, in several PID namespaces."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest

from tests.engines._damage import flip
from tests.integration._case import Art, DaemonTestCase
from tests.integration._daemon import (
    ANY_PORT,
    LISTENS,
    environment,
    twistd,
    wait_until,
)
from tests.integration._load import Load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration._daemon import Daemon

_PATIENCE = 90
"""Seconds after which something that does not happen has failed the test."""

_NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


def another_namespace() -> list[str]:
    """
    Return the prefix that runs a command as PID 1 of a namespace, as in a container.

    Raises `SkipTest` where this is impossible.
    """
    if shutil.which("unshare") is None:
        message = "unshare (util-linux) is missing"
        raise SkipTest(message)
    if os.geteuid():
        message = "only root can make a PID namespace"
        raise SkipTest(message)
    return _NAMESPACE


def asciid(*arguments: str | Path) -> list[str]:
    """Return the command line of ``asciid`` with `arguments`."""
    return [sys.executable, "-m", "asciid", *map(str, arguments)]


def exists(pid: int) -> bool:
    """Return whether that process has not ended; it may not have been reaped yet."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(") ")[2][0] not in "ZX"


def readers_of(pid: int) -> list[int]:
    """Return the processes below `pid` that read the storage for a command."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            found += readers_of(child)
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                command = Path(f"/proc/{child}/cmdline").read_bytes()
                if b"asciid.admin.reader" in command:
                    found.append(child)
    return found


class OwnerTestCase(DaemonTestCase):
    """Starts daemons that may fail to start."""

    @property
    def storage(self) -> Path:
        """The storage directory."""
        return self.directory / "asciid-storage"

    def begin(
        self, name: str, *options: str, before: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """Start a daemon, without waiting for anything."""
        self.directory.mkdir(exist_ok=True)
        with self.log_file(name).open("wb") as log:
            process = subprocess.Popen(
                [*before, *twistd("--nodaemon", "--pidfile=", "asciid", *options)],
                cwd=self.directory,
                env=environment(ASCIID_PORT=ANY_PORT),
                stdout=log,
                stderr=subprocess.PIPE,
            )
        self.addCleanup(self.end, process)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a process, and discard its output."""
        process.kill()
        process.communicate()

    def log_file(self, name: str) -> Path:
        """Return where a daemon logs to."""
        return self.directory / f"{name}.log"

    def serves(self, name: str) -> bool:
        """Return whether a daemon has logged that it serves."""
        return LISTENS.search(self.log_file(name).read_text()) is not None

    async def refusal(self, process: subprocess.Popen[bytes]) -> str:
        """Wait for a daemon that does not start; return the line with the reason."""
        _, printed = await deferToThread(process.communicate, timeout=_PATIENCE)
        self.assertEqual(process.returncode, 1)
        (line,) = printed.decode().splitlines()
        return line


class SecondDaemonTests(OwnerTestCase):
    """Daemons that are started on a storage that has an owner."""

    async def test_started_at_once(self) -> None:
        """Of several that start at the same time one serves; it is named to all."""
        started = {
            "one": self.begin("one"),
            "two": self.begin("two", "--workers=2"),
            "three": self.begin("three"),
        }
        wait_until(lambda: any(map(self.serves, started)), "none serves")
        await self.assert_one(started)

    async def assert_one(self, started: dict[str, subprocess.Popen[bytes]]) -> None:
        """Check that exactly one serves, and that the others name it."""
        (owner,) = [name for name in started if self.serves(name)]
        process = started.pop(owner)
        for other in started.values():
            line = await self.refusal(other)
            self.assertIn("asciid: cannot use the storage", line)
            host = re.escape(socket.gethostname())
            self.assertRegex(
                line, rf": in use by asciid, pid {process.pid} on host {host}, since 2"
            )
        self.assertIsNone(process.poll())
        for name in started:
            self.assertNotIn("Traceback", self.log_file(name).read_text())

    async def test_process_one_twice(self) -> None:
        """Two containers have a process 1 each; one storage has one owner."""
        namespace = another_namespace()
        first = self.begin("first", before=namespace)
        wait_until(lambda: self.serves("first"), "the first does not serve")
        second = self.begin("second", before=namespace)
        line = await self.refusal(second)
        self.assertIn("in use by asciid, pid 1 on host ", line)
        self.assertIsNone(first.poll())


class NextDaemonTests(OwnerTestCase):
    """Daemons that follow one that has ended, or is ending."""

    async def test_killed(self) -> None:
        """After one that was killed the next one starts at once."""
        daemon = self.daemon()
        art = Art.random()
        await self.upload_all(daemon, art)
        daemon.kill()
        daemon.start()
        await self.assert_downloads(daemon, art)
        daemon.stop()

    async def test_parent_killed(self) -> None:
        """The children of a parent that was killed own the storage until they end."""
        daemon = self.daemon("--workers=2")
        art = Art.random()
        await self.register(daemon, art)
        children = [*daemon.children("worker"), *daemon.children("writer")]
        # A request under way keeps its worker, and the writer, for a while.
        with socket.create_connection(("127.0.0.1", daemon.port)) as connection:
            connection.sendall(b"POST /image HTTP/1.1\r\nHost: a\r\nContent-Le")
            await self.sleep(0.2)
            daemon.kill()
            following = self.begin("next", "--workers=2")
            await self.sleep(2)
            self.assertTrue(any(map(exists, children)))
            self.assertFalse(self.serves("next"))
        wait_until(lambda: self.serves("next"), "the next one does not serve")
        self.assertFalse(any(map(exists, children)))
        self.assertIsNone(following.poll())


class CommandTests(OwnerTestCase):
    """Commands on the storage of a daemon that runs, in another PID namespace."""

    async def run_command(
        self, *arguments: str | Path, before: Sequence[str] = ()
    ) -> tuple[int, Any]:
        """Run a command that prints JSON, while the reactor runs."""
        done = await deferToThread(
            subprocess.run,
            [*before, *asciid(*arguments, "--json")],
            cwd=self.directory,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    def begin_verify(self) -> subprocess.Popen[bytes]:
        """Begin a verification that takes minutes."""
        command = subprocess.Popen(
            asciid("verify", "--rate=1K"), cwd=self.directory, env=environment()
        )
        self.addCleanup(command.wait)
        self.addCleanup(command.kill)
        return command

    async def test_another_namespace(self) -> None:
        """Under load they find and store the same as within its namespace."""
        await self.check_commands(self.daemon("--workers=2"), another_namespace())

    async def check_commands(self, daemon: Daemon, before: Sequence[str]) -> None:
        """Verify, back up and compact while images are uploaded."""
        good, bad = Art.random(), Art.random()
        await self.upload_all(daemon, good)
        await self.upload_all(daemon, bad)
        load = Load(self, daemon)
        ended = load.start()
        flip(self.storage, bad.chunk(1)["data"].encode())
        code, report = await self.run_command("verify", "--rate=0", before=before)
        self.assertEqual((code, len(report["damaged"])), (1, 1), report)
        # A good copy in memory is not served any more, either.
        answer = await self.download(daemon, bad)
        self.assertEqual(answer.status, 404)
        for arguments in (
            ("verify", "--purge"),
            ("backup", self.directory / "copy"),
            ("compact",),
        ):
            code, report = await self.run_command(*arguments, before=before)
            self.assertEqual(code, 0, report)
        await self.upload_all(daemon, bad)
        daemon.kill()
        await ended
        daemon.start()
        await load.check(daemon)
        for art in (good, bad):
            await self.assert_downloads(daemon, art)
        daemon.stop()

    async def test_command_that_ends(self) -> None:
        """When a command is killed, the daemon stops reading for it."""
        daemon = self.daemon()
        await self.upload_all(daemon, Art.random(200_000, 50_000))
        command = self.begin_verify()
        wait_until(lambda: readers_of(daemon.pid), "nothing reads")
        command.kill()
        wait_until(lambda: not readers_of(daemon.pid), "it is still read")
        daemon.stop()

    async def test_daemon_that_ends(self) -> None:
        """When the daemon is killed, so is a command's reader; it is reported."""
        daemon = self.daemon()
        await self.upload_all(daemon, Art.random(200_000, 50_000))
        running = Deferred.fromCoroutine(self.run_command("verify", "--rate=1K"))
        await deferToThread(wait_until, lambda: readers_of(daemon.pid), "nothing reads")
        (reader,) = readers_of(daemon.pid)
        daemon.kill()
        code, error = await running
        self.assertEqual(code, 1)
        self.assertIn("the daemon exited before the command finished", error)
        wait_until(lambda: not exists(reader), "it still reads")
        daemon.start()
        daemon.stop()

    async def test_removed_lock_file(self) -> None:
        """Without LMDB's table of readers (lock.mdb), no read begins."""
        daemon = self.daemon()
        await self.upload_all(daemon, Art.random())
        (self.storage / "lock.mdb").unlink()
        for arguments in (("verify",), ("backup", self.directory / "copy")):
            code, error = await self.run_command(*arguments)
            self.assertEqual(code, 1)
            self.assertIn("restart the daemon", error)
        self.assertFalse((self.directory / "copy").exists())
        daemon.stop()
