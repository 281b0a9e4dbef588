"""Two daemons on one directory."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tests.faults._case import FaultTestCase
from tests.faults._load import Load, Record
from tests.faults._needs import need_tracing
from tests.faults._strace import Injection

if TYPE_CHECKING:
    from tests.integration._daemon import Daemon


class TwoDaemonsTests(FaultTestCase):
    """Two daemons write to one storage, and one of them is killed."""

    def test_killed_at_random(self) -> None:
        """The other goes on, and has all that either acknowledged."""
        first, second = self.daemon(name="first"), self.daemon(name="second")
        records: list[Record] = []
        for _ in range(3):
            with Load(first.port, 4) as doomed, Load(second.port, 4) as other:
                other.run_for(random.uniform(0.1, 0.4))
                first.kill()
                other.run_for(0.1)
                # A lock that died with its owner would stop every write.
                self.assertTrue(other.goes_on(100))
            records += [doomed.record, other.record]
            self._check(second, records)
            first.start()
            self._check(first, records)

    def test_killed_in_commit(self) -> None:
        """The same where it is known that the one killed held the write lock."""
        need_tracing()
        first, second = self.daemon(name="first"), self.daemon(name="second")
        records: list[Record] = []
        for call in ("pwrite64", "writev", "fdatasync"):
            with Load(first.port, 4) as doomed, Load(second.port, 4) as other:
                other.run_for(0.1)
                fault = f"signal=SIGKILL:when={random.randint(1, 6)}"
                trace = self.directory / "trace"
                with Injection(first.pid, call, fault, self.data_file, trace) as kill:
                    kill.wait_until_gone()
                other.run_for(0.1)
                self.assertTrue(other.goes_on(100))
            self.assertTrue(kill.struck)
            first.kill()
            records += [doomed.record, other.record]
            self._check(second, records)
            first.start()
            self._check(first, records)

    def _check(self, daemon: Daemon, records: list[Record]) -> None:
        for record in records:
            self.assertTrue(record.acknowledged)
            self.assert_kept(daemon, record)
