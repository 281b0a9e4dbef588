"""Tests of what ``benchmarks/run`` makes of its figures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests._benchmarks import load


def row(server: str, workload: str, connections: int, **figures: float) -> Any:  # noqa: ANN401 - the benchmarks'
    """Return a median."""
    return {
        "server": server,
        "workload": workload,
        "connections": connections,
        "requests_per_second": 1_000.0,
        "cpu_us_per_request": 100.0,
        "disk_bytes_per_image": 9_000.0,
        **figures,
    }


class TargetsTests(SynchronousTestCase):
    """The figures that asciid is to reach."""

    def setUp(self) -> None:
        """Import."""
        self.targets = load("targets")

    def check(self, *rows: Any, memory: Any = ()) -> list[tuple[bool, str]]:  # noqa: ANN401 - as above
        """Return which targets are reached."""
        results = {"medians": rows, "memory": memory}
        return [(each["passed"], each["text"]) for each in self.targets.check(results)]

    def test_peers(self) -> None:
        """Quotients of asciid's figures and those of its peers are bounded."""
        found = self.check(
            row("ours", "exercise", 64, requests_per_second=1_150),
            row("go-durable", "exercise", 64, cpu_us_per_request=106.0),
            row("go-memory", "exercise", 64, cpu_us_per_request=41.0),
            row("ours", "download", 64),
            row("nginx", "download", 64, cpu_us_per_request=50.0),
            row("ours", "large", 1, requests_per_second=690.0),
            row("nginx", "large", 1, cpu_us_per_request=24.0),
        )
        durable, memory, nginx = (
            load("catalog").TITLES[key] for key in ("go-durable", "go-memory", "nginx")
        )
        self.assertEqual(
            found[-6:],
            [
                (True, f"{durable}: 0.94 times its CPU per request (at most 0.95)"),
                (True, f"{durable}: 1.15 times its requests/s (at least 1.15)"),
                (False, f"{memory}: 2.44 times its CPU per request (at most 2.4)"),
                (True, f"{nginx}: 2.00 times its CPU per hot GET (at most 2.0)"),
                (False, f"{nginx}: 4.17 times its CPU per 60 MiB (at most 4.0)"),
                (False, f"{nginx}: 0.69 times its 60 MiB/s (at least 0.7)"),
            ],
        )

    def test_memory(self) -> None:
        """One process has a bound for RSS, four workers together one for PSS."""
        memory = [
            {"server": "ours", "idle_rss_bytes": 50_000_000.0},
            {"server": "ours-workers", "idle_pss_bytes": 211_000_000.0},
        ]
        self.assertEqual(
            self.check(memory=memory),
            [
                (True, "asciid, idle: 50.0 MB RSS (at most 50)"),
                (False, "asciid with 4 workers, idle: 211.0 MB PSS (at most 210)"),
            ],
        )

    def test_workers(self) -> None:
        """Four workers may take what one of four daemons takes, and no more."""
        found = self.check(
            row("ours-workers", "exercise", 64, cpu_us_per_request=101.0),
            row("ours-apart", "exercise", 64),
        )
        self.assertEqual([passed for passed, _ in found], [False])

    def test_not_measured(self) -> None:
        """Servers that were not measured have no targets."""
        self.assertEqual(self.check(), [])


class ReportTests(SynchronousTestCase):
    """The tables."""

    def setUp(self) -> None:
        """Import, and make figures of two rounds."""
        self.report, self.session = load("report"), load("session")
        shares = {"server_cpu_share": 1.0, "load_cpu_share": 0.5}
        common = {**shares, "others_cpu_share": 0.0, "p50_us": 10.0, "p99_us": 20.0}
        loads = [
            row(server, "exercise", 64, cpu_us_per_request=cpu, **common)
            for server, cpu in (
                *(("ours", 80.0), ("ours", 100.0)),
                *(("go-durable", 40.0), ("go-durable", 80.0)),
            )
        ]
        memory = [
            {
                "server": "ours",
                "idle_rss_bytes": 1e6,
                "idle_pss_bytes": 2e6,
                "loaded_pss_bytes": 3e6,
                "peak_rss_bytes": 4e6,
            }
        ]
        self.found = self.session.Findings(loads, [], memory)

    def table(self) -> str:
        """Return the text."""
        machine = load("machine")
        described = {
            **dict.fromkeys(("cpu", "cpus", "kernel", "filesystem", "commit"), "x"),
            "changed": False,
            "python": "3.11.2",
            "interpreter": machine.describe_interpreter(),
            "peers": {"go": "1.19.8", "bbolt": "missing"},
        }
        results = self.report.summarise(self.found, described, 2, 1.3)
        results["skipped"] = ["nginx, one worker: nginx is not installed"]
        text: str = self.report.table(results)
        return text

    def test_ratios(self) -> None:
        """Of medians each has its quotient with that of the durable server in Go."""
        lines = self.table().splitlines()
        (ours,) = (line for line in lines if line.startswith("asciid ") and "%" in line)
        self.assertEqual(
            " ".join(ours.split()),
            "asciid 1,000 1.00 90.0 1.50 0.01 0.02 9.0 100% 0% 50%",
        )

    def test_memory(self) -> None:
        """Memory has a table of its own."""
        (line,) = (line for line in self.table().splitlines() if "4.0" in line)
        self.assertEqual(line.split(), ["asciid", "1.0", "2.0", "3.0", "4.0"])

    def test_conditions(self) -> None:
        """Interpreter, versions of the peers, and what was skipped are named."""
        text = self.table()
        self.assertIn(f"{Path(sys.executable).resolve()}, Python 3.11.2", text)
        self.assertIn("go 1.19.8, bbolt missing", text)
        self.assertIn("skipped: nginx, one worker: nginx is not installed", text)


class InterpreterTests(SynchronousTestCase):
    """How the interpreter was built."""

    def optimizations(self, **variables: str) -> str:
        """Return those that these variables name."""
        found: str = load("machine").optimizations(variables)
        return found

    def test_named(self) -> None:
        """PGO and LTO are found in the arguments of configure, or in flags."""
        arguments = "'--enable-shared' '--enable-optimizations' '--with-lto'"
        self.assertEqual(self.optimizations(CONFIG_ARGS=arguments), "PGO, LTO")
        self.assertEqual(self.optimizations(PGO_PROF_USE_FLAG="-fprofile-use"), "PGO")

    def test_not_named(self) -> None:
        """Else nothing is claimed."""
        self.assertEqual(self.optimizations(CONFIG_ARGS=""), "not stated")
