"""Output and exit codes of the commands on a storage directory."""

from __future__ import annotations

import errno
import io
import json
import os
import socket
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import lmdb
from twisted.trial.unittest import SynchronousTestCase

from asciid.admin import _owner
from asciid.admin._pace import Pace
from asciid.cli.main import main
from asciid.engines import _findings
from asciid.engines.lmdb import _verification
from tests.engines._damage import delete, flip, records
from tests.engines._formats import write_format_1
from tests.store._support import DrivenStore, spec_of

if TYPE_CHECKING:
    from pathlib import Path

CAT = b"/\\_/\\\n( o.o )\n >^<\n"
DOG = b"/^ ^\\\n/ 0 0 \\\nV\\ Y /V\n"


class CommandTests(SynchronousTestCase):
    """``asciid verify``, ``asciid backup`` and ``asciid compact``."""

    def setUp(self) -> None:
        """Make a storage with two images."""
        driven = DrivenStore(self.mktemp())
        driven.start()
        driven.upload(CAT)
        self.dog = driven.upload(DOG, 1_000)
        driven.stop()
        self.path = driven.path.absolute()

    def run_command(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Run a command; return its exit code and its output."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            end = self.assertRaises(SystemExit, main, [str(a) for a in arguments])
        assert isinstance(end.code, int)
        return end.code, out.getvalue(), err.getvalue()

    def on_storage(self, command: str, *arguments: str | Path) -> tuple[int, str, str]:
        """Run a command on the storage."""
        return self.run_command(command, "--storage", self.path, *arguments)

    def report(self, command: str, *arguments: str | Path) -> tuple[int, Any]:
        """Run a command that prints JSON alone."""
        code, out, err = self.on_storage(command, *arguments, "--json")
        self.assertEqual(err, "")
        return code, json.loads(out)

    def test_block(self) -> None:
        """An image is blocked, listed as such, and unblocked."""
        sha256 = self.dog.sha256
        before = records(self.path, "chunks")
        driven = DrivenStore(str(self.path))
        driven.start()
        driven.upload(bytes(3_000), 1)
        driven.stop()
        code, *_ = self.on_storage("block", spec_of(bytes(3_000)).sha256, "--reason=x")
        self.assertEqual((code, records(self.path, "chunks")), (0, before))
        code, *_ = self.on_storage("unblock", spec_of(bytes(3_000)).sha256)
        blocked = self.on_storage("block", sha256.upper(), "--reason", "Käse 5/26")
        self.assertEqual(blocked, (0, f"{sha256} blocked\n", ""))
        other = "f" * 64
        code, report = self.report("block", other, "--reason", "spam")
        self.assertEqual(code, 0)
        expected = {"sha256": other, "reason": "spam", "removed": False}
        self.assertEqual(report, expected)
        code, out, _ = self.on_storage("block", other, "--reason", "fraud")
        self.assertEqual((code, out), (0, f"{other} blocked; it was not stored\n"))
        code, out, _ = self.on_storage("blocked")
        lines = [line.split(" ", 2) for line in sorted(out.splitlines())]
        self.assertEqual(
            [(line[0], line[2]) for line in lines],
            sorted([(sha256, "Käse 5/26"), (other, "fraud")]),
        )
        code, report = self.report("blocked")
        self.assertEqual(
            [one["since"] for one in report["blocked"]], [line[1] for line in lines]
        )
        self.assertEqual(report["blocked"][-1]["reason"], "fraud")
        self.assertEqual(self.on_storage("verify")[1].partition(" ")[0], "1")
        unblocked = self.on_storage("unblock", f"https://art.example/image/{sha256}")
        self.assertEqual(unblocked, (0, f"{sha256} unblocked\n", ""))
        unblocked = self.on_storage("unblock", sha256)
        self.assertEqual(unblocked, (1, f"{sha256} is not blocked\n", ""))
        for command, prints in (("block", "about"), ("unblock", "blocked")):
            part = [
                command,
                sha256[:12],
                *(["--reason=x"] if command == "block" else []),
            ]
            code, _, err = self.on_storage(*part)
            self.assertEqual(code, 2)
            self.assertIn(
                f"{sha256[:12]} has a part of a SHA-256; asciid {prints} ", err
            )
        code, report = self.report("unblock", other)
        self.assertEqual((code, report), (0, {"sha256": other, "unblocked": True}))
        self.assertEqual(self.report("blocked"), (0, {"blocked": []}))
        self.assertEqual(self.on_storage("blocked"), (0, "", ""))

    def test_block_without_reason(self) -> None:
        """A reason is required, and one line."""
        for reason in ((), ("--reason", ""), ("--reason", "a\nb")):
            code, out, err = self.on_storage("block", self.dog.sha256, *reason)
            self.assertEqual((code, out), (2, ""))
            self.assertEqual(err.count("\n"), 1)
        self.assertEqual(self.on_storage("blocked"), (0, "", ""))

    def test_old_format(self) -> None:
        """Moderation of a storage of format 1 says what to do; others work."""
        self.path = self.path.with_name("old")
        write_format_1(self.path)
        for command in (
            ("block", self.dog.sha256, "--reason=spam"),
            ("unblock", self.dog.sha256),
            ("blocked",),
        ):
            code, out, err = self.on_storage(*command)
            self.assertEqual((code, out, err.count("\n")), (1, "", 1))
            self.assertIn("start the service, which converts it", err)
        for command in (("verify",), ("compact",), ("backup", f"{self.path}.copy")):
            code, out, err = self.on_storage(*command)
            self.assertEqual((code, err), (0, ""))
            self.assertIn("5 images", out)

    def test_verify(self) -> None:
        """With no damage, verify prints the totals and exits with 0."""
        size = len(CAT) + len(DOG)
        self.assertEqual(
            self.on_storage("verify"),
            (0, f"2 images, {size} bytes: none damaged\n", ""),
        )
        self.assertEqual(
            self.report("verify", "--rate", "0"),
            (
                0,
                {
                    "images": 2,
                    "bytes": size,
                    "damaged": [],
                    "inconsistent": [],
                    "purged": None,
                },
            ),
        )

    def test_verify_mends_records(self) -> None:
        """Records that do not agree are reported and mended; the exit code is 1."""
        (key, *_) = [
            key
            for key, value in records(self.path, "listing").items()
            if value[:32] == bytes.fromhex(self.dog.sha256)
        ]
        delete(self.path, "listing", key)
        line = f"{self.dog.sha256}: it is not listed"
        summary = "2 images, 41 bytes: none damaged; 1 inconsistent"
        found = self.on_storage("verify", "--no-quarantine")
        self.assertEqual(found, (1, f"{line}\n{summary}\n", ""))
        code, report = self.report("verify")
        expected = {"sha256": self.dog.sha256, "reason": "it is not listed"}
        self.assertEqual(
            (code, report["inconsistent"]), (1, [{**expected, "mended": True}])
        )
        self.assertEqual(self.on_storage("verify")[0], 0)
        delete(self.path, "listing", key)
        mended = self.on_storage("verify")
        self.assertEqual(mended, (1, f"{line}\n{summary}, mended\n", ""))

    def test_verify_finds_damage(self) -> None:
        """Damaged images are reported and quarantined; the exit code is 1."""
        flip(self.path, DOG)
        code, out, _ = self.on_storage("verify", "--no-quarantine")
        self.assertEqual(code, 1)
        self.assertIn(f"{self.dog.sha256}: its bytes have the hash ", out)
        self.assertIn(": 1 damaged\n", out)
        self.assertEqual(records(self.path, "quarantined"), {})
        code, report = self.report("verify")
        self.assertEqual(code, 1)
        (damaged,) = report["damaged"]
        self.assertEqual(damaged["sha256"], self.dog.sha256)
        self.assertTrue(damaged["quarantined"])
        code, out, _ = self.on_storage("verify", "--purge")
        self.assertEqual(code, 0)
        self.assertTrue(out.endswith(": none damaged; 1 purged\n"), out)

    def test_verify_says_that_it_put_aside(self) -> None:
        """The summary says whether damaged images are in quarantine."""
        flip(self.path, DOG)
        _, out, _ = self.on_storage("verify")
        self.assertIn(": 1 damaged, in quarantine\n", out)

    def test_restore(self) -> None:
        """Quarantined images can be restored."""
        flip(self.path, DOG)
        self.assertEqual(self.on_storage("verify")[0], 1)
        self.assertEqual(
            self.on_storage("verify", "--restore"), (0, "1 restored\n", "")
        )
        self.assertEqual(self.on_storage("verify")[0], 1)
        self.assertEqual(self.report("verify", "--restore"), (0, {"restored": 1}))
        code, _, err = self.on_storage("verify", "--restore", "--purge")
        self.assertEqual(code, 2)
        self.assertIn("--restore and --purge", err)

    def test_storage_damaged_as_a_whole(self) -> None:
        """The command stops, and recommends the backup."""
        flip(self.path, DOG)
        flip(self.path, CAT[:4])
        self.patch(_findings, "FEW", 1)
        code, out, err = self.on_storage("verify")
        self.assertEqual((code, len(out.splitlines())), (1, 1))
        self.assertIn("restore a backup", err)
        self.assertEqual(len(err.splitlines()), 1)
        self.assertEqual(len(records(self.path, "quarantined")), 1)

    def test_storage_from_the_environment(self) -> None:
        """The storage is the one that a daemon in the same environment has."""
        with patch.dict("os.environ", {"ASCIID_STORAGE": str(self.path)}):
            code, _, _ = self.run_command("verify")
        self.assertEqual(code, 0)

    def test_backup(self) -> None:
        """A backup prints its totals, and can be verified."""
        destination = self.path.with_name("backup")
        code, out, _ = self.on_storage("backup", destination)
        self.assertEqual(code, 0)
        size = (destination / "data.mdb").stat().st_size
        self.assertEqual(out, f"{destination}: 2 images, {size} bytes\n")
        self.assertEqual(self.run_command("verify", "--storage", destination)[0], 0)
        code, _, err = self.on_storage("backup", destination)
        self.assertEqual(code, 1)
        self.assertEqual(err, f"asciid: {destination} exists already\n")
        code, _, err = self.on_storage("backup", self.path / "none" / "copy")
        self.assertEqual(code, 1)
        self.assertRegex(err, r"\Aasciid: \S+: No such file or directory\n\Z")
        other = self.path.with_name("other")
        code, report = self.report("backup", other)
        self.assertEqual(code, 0)
        self.assertEqual(
            report, {"destination": str(other), "images": 2, "bytes": size}
        )

    def test_backup_of_damage(self) -> None:
        """A backup of a damaged storage exits with 1 and leaves nothing."""
        flip(self.path, DOG)
        destination = self.path.with_name("backup")
        code, _, err = self.on_storage("backup", destination)
        self.assertEqual(code, 1)
        self.assertIn("1 image", err)
        self.assertFalse(destination.exists())

    def test_compact(self) -> None:
        """A compaction prints both sizes."""
        before = (self.path / "data.mdb").stat().st_size
        code, report = self.report("compact")
        after = (self.path / "data.mdb").stat().st_size
        self.assertEqual(code, 0)
        self.assertEqual(
            report, {"images": 2, "bytes_before": before, "bytes_after": after}
        )
        code, out, _ = self.on_storage("compact")
        self.assertEqual(
            (code, out), (0, f"2 images: {after} bytes before, {after} after\n")
        )

    def test_while_in_use(self) -> None:
        """A storage whose owner accepts no commands is left alone."""
        self.patch(_owner, "LOCK_TIMEOUT", 0.1)
        driven = DrivenStore(str(self.path))
        driven.start()
        self.addCleanup(driven.stop)
        copy = self.path.with_name("copy")
        for command in (("verify",), ("backup", copy), ("compact",)):
            code, _, err = self.on_storage(*command)
            self.assertEqual(code, 1)
            holder = f"{self.path} is in use by asciid, pid {os.getpid()} on host "
            self.assertIn(holder, err)
            self.assertEqual(len(err.splitlines()), 1)
        self.assertFalse(copy.exists())

    def test_socket_that_cannot_be_opened(self) -> None:
        """The line names the socket."""
        driven = DrivenStore(str(self.path))
        driven.start()
        self.addCleanup(driven.stop)
        path = self.path / "asciid.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.bind(os.path.relpath(path))
            code, _, err = self.on_storage("verify")
        reason = os.strerror(errno.EPROTOTYPE)
        self.assertEqual((code, err), (1, f"asciid: {path}: {reason}\n"))

    def test_no_storage(self) -> None:
        """A directory that is not a storage is one line."""
        nowhere = self.path.with_name("nowhere")
        for command in ("verify", "compact"):
            code, _, err = self.run_command(command, "--storage", nowhere)
            self.assertEqual(code, 1)
            self.assertIn("is not a storage directory", err)
            self.assertEqual(len(err.splitlines()), 1)
        self.assertFalse(nowhere.exists())

    def test_storage_that_cannot_be_walked(self) -> None:
        """Damage of the storage itself is one line."""

        def failing(*_: object, **__: object) -> None:
            raise lmdb.CorruptedError("mdb_cursor_get")

        self.patch(_verification, "_page", failing)
        code, _, err = self.on_storage("verify")
        self.assertEqual(code, 1)
        self.assertIn("the storage cannot be used: mdb_cursor_get", err)

    def test_memory(self) -> None:
        """A daemon without a directory has nothing to work on."""
        backup = ("backup", self.path.with_name("copy"))
        for command in (("verify",), backup, ("compact",)):
            for environment in ({}, {"ASCIID_STORAGE": ":memory:"}):
                chosen = () if environment else ("--storage=:memory:",)
                with patch.dict("os.environ", environment):
                    code, _, err = self.run_command(*command, *chosen)
                self.assertEqual(code, 2)
                self.assertIn("images in :memory: are not on disk", err)
                self.assertEqual(len(err.splitlines()), 1)

    def test_mistakes(self) -> None:
        """Wrong options end with 2 and one line."""
        for arguments in (
            ("verify", "--rate", "fast"),
            ("verify", "--rate", "-1"),
            ("backup",),
            ("compact", "somewhere"),
        ):
            code, _, err = self.on_storage(arguments[0], *arguments[1:])
            self.assertEqual(code, 2, err)
            self.assertEqual(len(err.splitlines()), 1, err)

    def test_help(self) -> None:
        """The help of each command has examples, one per line, and exit codes."""
        for command in ("verify", "backup", "compact"):
            code, out, _ = self.run_command(command, "--help")
            self.assertEqual(code, 0)
            _, _, examples = out.partition("Examples:\n")
            for line in examples.partition("\n\n")[0].splitlines():
                self.assertTrue(line.strip().startswith(f"asciid {command}"), line)
            self.assertIn("exit code", out)


class PaceTests(SynchronousTestCase):
    """How a rate is kept."""

    def setUp(self) -> None:
        """Make a clock that sleeping moves."""
        self.now = 100.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Move the clock."""
        self.slept.append(seconds)
        self.now += seconds

    def test_waits(self) -> None:
        """Reads that exceed the rate wait; unused time is not credited."""
        pace = Pace(10, lambda: self.now, self.sleep)
        pace(5)
        pace(20)
        self.now += 50
        pace(10)
        self.assertEqual(self.slept, [0.5, 2.0, 1.0])

    def test_small_parts_add_up(self) -> None:
        """Parts too small to wait for are waited for together."""
        pace = Pace(100, lambda: self.now, self.sleep)
        for _ in range(20):
            pace(1)
        self.assertEqual(len(self.slept), 4)
        self.assertAlmostEqual(sum(self.slept), 0.2)

    def test_does_not_wait(self) -> None:
        """A rate of 0 is unlimited."""
        pace = Pace(0, lambda: self.now, self.sleep)
        pace(10**9)
        self.assertEqual(self.slept, [])
