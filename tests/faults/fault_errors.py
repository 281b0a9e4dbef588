"""Errors of the disk: each call of a commit fails, once."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from tests.faults._case import FaultTestCase
from tests.faults._client import Connection
from tests.faults._load import Load, Record, Upload, Uploader
from tests.faults._needs import need_tracing
from tests.faults._strace import WRITES, Injection

if TYPE_CHECKING:
    from tests.integration._daemon import Daemon


class CommitErrorTests(FaultTestCase):
    """A write or a sync of a commit fails."""

    def setUp(self) -> None:
        """See that processes can be traced."""
        super().setUp()
        need_tracing()
        self.trace = self.directory / "trace"

    def test_input_output_error(self) -> None:
        """
        EIO in any call of a commit fails that commit's request with 503, and no
        other; the request succeeds when it is sent again.
        """
        self._fail_each_call("EIO", 503)

    def test_disk_full(self) -> None:
        """The same with ENOSPC, which is answered with 507."""
        self._fail_each_call("ENOSPC", 507)

    def test_quota(self) -> None:
        """The same with EDQUOT, as where a quota is used up."""
        self._fail_each_call("EDQUOT", 507)

    def _fail_each_call(self, error: str, status: int) -> None:
        daemon = self.daemon()
        records = []
        for call in WRITES:
            for number in count(1):
                record = Record()
                fault = f"error={error}:when={number}"
                with Injection(
                    daemon.pid, call, fault, self.data_file, self.trace
                ) as failing:
                    self._upload(daemon.port, record)
                records.append(record)
                self._check_reopened(failing.calls)
                if not failing.struck:
                    self.assertFalse(record.refused)
                    break
                self.assertEqual(dict(record.refused), {status: 1}, (call, number))
                self.assert_kept(daemon, record)
            if call == "fdatasync":
                self.assertGreater(number, 4)
        self.assertNotIn("Unhandled", daemon.log)
        self.restart_checking(daemon, records)

    def test_sync_under_load(self) -> None:
        """
        A sync that fails under load fails the requests of its batch, none of
        which left anything behind; the others are not disturbed.
        """
        daemon = self.daemon()
        self._fail_under_load(daemon, daemon.pid)

    def test_sync_under_load_with_workers(self) -> None:
        """The same where several processes serve and another one writes."""
        daemon = self.daemon("--workers", "2")
        (writer,) = daemon.children("writer")
        self._fail_under_load(daemon, writer)

    def _fail_under_load(self, daemon: Daemon, pid: int) -> None:
        with Load(daemon.port) as load:
            load.run_for(0.2)
            fault = "error=EIO:when=5+9"
            with Injection(
                pid, "fdatasync", fault, self.data_file, self.trace
            ) as failing:
                failing.wait_until_struck()
                load.run_for(0.5)
            self.assertTrue(load.progresses())
        self.assertIn(pid, [daemon.pid, *daemon.children("writer")])
        failures = sum("(INJECTED)" in call for call in failing.calls)
        self._check_reopened(failing.calls)
        self.assertEqual(set(load.record.refused), {503})
        self.report(
            f"{failures} syncs failed, {load.record.refused[503]} requests refused, "
            f"{len(load.record.acknowledged)} acknowledged, 0 lost"
        )
        self.restart_checking(daemon, [load.record])

    def test_lasting_failure(self) -> None:
        """
        While no sync succeeds, writes are answered 503 and reads 200, and the
        daemon is not ready; service resumes by itself once they do.
        """
        daemon = self.daemon()
        small, large = Upload.sized(500), Upload.sized(200_000, whole=True)
        record = self.upload(daemon, [small, large])
        new = Upload.sized(100)
        with (
            Injection(
                daemon.pid, "fdatasync", "error=EIO", self.data_file, self.trace
            ) as failing,
            Connection(daemon.port) as connection,
        ):
            for _ in range(5):
                answer = connection.post("/image", new.art.registration)
                self.assertEqual((answer.status, answer.is_problem), (503, True))
                self.assertEqual(self.get(daemon, small).body, small.content)
                self.assertEqual(self.get(daemon, large).body, large.content)
                self.assertEqual(self.failed_checks(daemon), ["writes"])
            self._check_reopened(failing.calls)
        # Without writes, the daemon has to find out by itself.
        self.wait_until_ready(daemon)
        later = self.upload(daemon, [new])
        self.assertEqual((len(later.acknowledged), later.refused), (2, {}))
        self.restart_checking(daemon, [record, later])

    def restart_checking(self, daemon: Daemon, records: list[Record]) -> None:
        """Check that all is there, now and after a kill."""
        for record in records:
            self.assert_kept(daemon, record)
        daemon.kill()
        daemon.start()
        for record in records:
            self.assert_kept(daemon, record)
        daemon.stop()

    def _upload(self, port: int, record: Record) -> None:
        """Commit a registration, a chunk, a last one and a PUT."""
        with Connection(port) as connection:
            uploader = Uploader(connection, record)
            uploader.upload(Upload.sized(300))
            uploader.upload(Upload.sized(9000, whole=True))

    def _check_reopened(self, calls: list[str]) -> None:
        """
        Check that after each failure the file was opened, and then synced, before
        anything more was written to it.

        Before it is opened LMDB may put the header back that it could not write.
        """
        expected = ""
        for call in calls:
            if "(INJECTED)" in call:
                expected = "openat"
            elif call.startswith("openat"):
                expected = "fdatasync"
            elif call.startswith("fdatasync"):
                self.assertNotEqual(expected, "openat", call)
                expected = ""
            elif call.startswith(WRITES):
                self.assertNotEqual(expected, "fdatasync", call)
