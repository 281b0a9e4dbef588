"""The primary dies: Patroni promotes the synchronous standby, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import define, field

from tests.cluster._case import ClusterTestCase
from tests.cluster._haproxy import new_balancer
from tests.cluster._patroni import LEASE, Cluster, Member, new_cluster
from tests.cluster._programs import find, need
from tests.cluster._racing import Races
from tests.cluster._readiness import ReadinessLog
from tests.faults._client import Connection
from tests.faults._load import Upload
from tests.integration._daemon import ROOT, environment

KILLS = int(os.environ.get("ASCIID_FAILOVERS", "1"))
"""How often the primary is killed."""

RESULT = os.environ.get("ASCIID_FAILOVER_RESULT")
"""The file that the figures are written to, if any."""

_BOUND = LEASE + 10
"""Seconds until writes succeed again."""

_PAIRS = 4

_REFUSALS = 20
"""At least so many writes are sent and refused, one after the other."""

_AT_ONCE = 3
"""Seconds within which a request is refused that was sent after the kill."""


@define(eq=False)
class _Simulation:
    """``asciid simulate`` until it is stopped."""

    directory: Path
    port: int
    _process: subprocess.Popen[str] = field(init=False)

    @_process.default
    def _start(self) -> subprocess.Popen[str]:
        with self._log_file.open("w", encoding="utf-8") as log:
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", "asciid", "simulate"),
                    *("--host=127.0.0.1", f"--port={self.port}"),
                    *("--duration=2h", "--rate=15", "--parallel=4"),
                    *("--json", "--log-format=json", "--log-level=error"),
                ],
                cwd=self.directory,
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    @property
    def _log_file(self) -> Path:
        return self.directory / "simulate.log"

    def stop(self) -> tuple[dict[str, Any], list[str]]:
        """Stop it; return its results, and the errors that it found."""
        self._process.send_signal(signal.SIGTERM)
        output, _ = self._process.communicate(timeout=60)
        lines = self._log_file.read_text(encoding="utf-8").splitlines()
        errors = [json.loads(line) for line in lines]
        return json.loads(output), [
            error["msg"] for error in errors if error["level"] == "error"
        ]

    def kill(self) -> None:
        """End it at the end of a test."""
        self._process.kill()
        self._process.communicate()


class FailoverTests(ClusterTestCase):
    """The primary and its Patroni are killed, as if their machine died."""

    def setUp(self) -> None:
        """Start a cluster, two nodes on it, and HAProxy in front of them."""
        super().setUp()
        need("haproxy")
        self.cluster: Cluster = new_cluster(1 if KILLS == 1 else 3)
        self.addCleanup(self.cluster.end)
        self.directory.mkdir(parents=True)
        migrated = self.asciid("migrate", "--storage", self.cluster.conninfo)
        self.assertEqual(migrated.returncode, 0, migrated.stderr)
        self.running = self.nodes(
            self.cluster.conninfo, "--trusted-proxies", "127.0.0.1"
        )
        self.balancer = new_balancer([node.port for node in self.running])
        self.addCleanup(self.balancer.end)
        self.kills: list[dict[str, Any]] = []

    def test_primary_killed(self) -> None:
        """
        No acknowledged write is lost and none is acknowledged twice; writes are
        refused at once until the standby has become the primary, and readiness follows.
        Nor is one lost in a switchover.
        """
        simulation = _Simulation(self.directory, self.balancer.port)
        self.addCleanup(simulation.kill)
        with (
            Races(self.balancer.port, _PAIRS) as races,
            ReadinessLog(self.running) as readiness,
        ):
            for _ in range(KILLS):
                self.kill_primary(races, readiness)
            switchover = self.switch_over(races, readiness)
        results, errors = simulation.stop()
        lost = [text for node in self.running for text in races.lost(node.port)]
        self.assertEqual(lost, [])
        self.assertEqual(races.won_twice, [])
        self.assertEqual(races.wrong, [])
        self.assertEqual([text for text in errors if "got 503" not in text], [])
        self.assertGreater(results["images_ok"], 50 * KILLS)
        figures = {
            "kills": self.kills,
            "switchover_seconds_without_writes": round(switchover, 2),
            "images": len(races.races),
            "acknowledged": races.acknowledged,
            "lost": len(lost),
            "acknowledged_twice": len(races.won_twice),
            "simulated_images": results["images"],
            "simulated_images_ok": results["images_ok"],
        }
        longest = max(kill["seconds_without_writes"] for kill in self.kills)
        self.report(
            f"{KILLS} kills, {races.acknowledged} acknowledged, 0 lost, 0 twice; "
            f"writing again within {longest:.1f} s, after a switchover {switchover:.1f}"
        )
        if RESULT:
            text = json.dumps({"machine": _machine(), **figures}, indent=1)
            Path(RESULT).write_text(f"{text}\n", encoding="utf-8")
        for node in self.running:
            node.stop()

    def kill_primary(self, races: Races, readiness: ReadinessLog) -> None:
        """Kill the primary, wait until the cluster is complete again, and check."""
        primary = self._prepare(races, readiness)
        primary.kill()
        killed = time.monotonic()
        self._check_refusals(races, killed)
        success = self._wait_for_success(races, killed)
        self.assertLess(success - killed, _BOUND)
        self.assertEqual(sorted(readiness.turned(killed)), ["one", "two"])
        turned = max(readiness.turned(killed).values())
        self.wait_for(readiness.are_ready, "the nodes do not become ready")
        ready = time.monotonic()
        refused = [one for one in races.between(killed, success) if one.status == 503]
        self.assertEqual([one for one in refused if not one.problem], [])
        waits = sorted(one.seconds for one in refused)
        # Only requests that were under way wait to know what became of them.
        late = [one.problem for one in refused if one.seconds > _AT_ONCE]
        self.assertLessEqual(len(late), 2 * _PAIRS)
        self.kills.append(
            {
                "seconds_without_writes": round(success - killed, 2),
                "seconds_until_not_ready": round(turned - killed, 2),
                "seconds_until_ready": round(ready - killed, 2),
                "refused": len(refused),
                "refusal_p50_ms": round(statistics.median(waits) * 1000, 1),
                "refusal_p99_ms": round(waits[len(waits) * 99 // 100] * 1000, 1),
                "refused_late": late,
                "refusal_max_ms": round(waits[-1] * 1000, 1),
            }
        )
        self.report(f"{self.kills[-1]}")
        primary.start()

    def switch_over(self, races: Races, readiness: ReadinessLog) -> float:
        """Have another member become the primary; return the seconds without writes."""
        self._prepare(races, readiness)
        began = time.monotonic()
        self.cluster.switch_over()
        switched = time.monotonic()
        success = self._wait_for_success(races, switched)
        self.wait_for(readiness.are_ready, "the nodes do not become ready")
        return races.longest_pause(began, success)

    def _check_refusals(self, races: Races, killed: float) -> None:
        """Send writes of one more client, until others succeed: each gets 503 soon."""
        refused = 0
        with Connection(self.balancer.port) as connection:
            while not races.first_success(killed):
                upload = Upload.sized(100, whole=True)
                began = time.monotonic()
                answer = connection.request("PUT", upload.target, upload.content)
                self.assertIn(answer.status, (201, 503))
                outcome = races.note(began, answer)
                if answer.status == 503:
                    self.assertLess(outcome.seconds, _AT_ONCE)
                    refused += 1
                self.assertLess(began - killed, 2 * _BOUND)
                time.sleep(0.1)
        self.assertGreater(refused, _REFUSALS)

    def _prepare(self, races: Races, readiness: ReadinessLog) -> Member:
        """Wait until all is well and the load progresses; return the primary."""
        primary = self.cluster.wait_until_complete()
        self.wait_for(readiness.are_ready, "the nodes are not ready")
        before = races.acknowledged
        self.wait_for(lambda: races.acknowledged > before + 100, "no progress")
        return primary

    def _wait_for_success(self, races: Races, after: float) -> float:
        """Return when the first write succeeded that was sent after a time."""
        self.wait_for(lambda: races.first_success(after), "no write", 2 * _BOUND)
        success = races.first_success(after)
        assert success is not None
        return success


def _machine() -> dict[str, Any]:
    """Return the machine and the versions of the software."""

    def output(*command: str) -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=ROOT
        )
        return done.stdout.splitlines()[0].strip()

    return {
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": output("git", "rev-parse", "--short", "HEAD"),
        "cpus": os.cpu_count(),
        "lease_seconds": LEASE,
        "versions": [
            output(find("postgres"), "--version"),
            output(find("patroni"), "--version"),
            output(find("etcd"), "--version"),
            output(find("haproxy"), "-v"),
        ],
    }
