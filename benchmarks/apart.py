"""
Measures several daemons that have nothing in common but a core.

Part of the additional cost of workers is that processes on one core evict one
another's data from its caches.  Daemons apart pay that, too, and nothing for working
together.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import procfs
from process import connected, running
from session import (
    CONNECTIONS,
    EXERCISE,
    MANY,
    WARM_UP,
    Findings,
    Measurement,
    Plan,
)

if TYPE_CHECKING:
    from catalog import Server
    from process import Running

DAEMONS = 4


class _Apart:
    """Daemons, each with a load generator and a storage of its own."""

    def __init__(self, plan: Plan, key: str, daemons: list[Running]) -> None:
        self.plan = plan
        self.key = key
        self.daemons = daemons
        self.positions = [0] * len(daemons)

    def put_under_load(
        self, connections: int, seconds: float
    ) -> tuple[list[dict[str, Any]], float, dict[int, float]]:
        """
        Load all of them at once.

        Return the measurement, the daemons' CPU time, and that of each processor.
        """
        each = connections // len(self.daemons)
        with ExitStack() as stack:
            loads = [
                stack.enter_context(
                    connected(
                        *(self.plan.generator, self.plan.scripts.exercise),
                        *(daemon.port, each, seconds, position, 0),
                    )
                )
                for daemon, position in zip(self.daemons, self.positions, strict=True)
            ]
            pool = stack.enter_context(ThreadPoolExecutor(len(loads)))
            busy, before = procfs.busy_seconds(), self._cpu()
            measured = list(pool.map(lambda load: load.run(), loads))
            used, after = self._cpu() - before, procfs.busy_seconds()
        self.positions = [one["next"] for one in measured]
        return measured, used, {core: after[core] - busy[core] for core in busy}

    def _cpu(self) -> float:
        return sum(
            sum(procfs.cpu_seconds(daemon.pid).values()) for daemon in self.daemons
        )

    def measure(self, connections: int) -> Measurement:
        """Return the cost of requests, all daemons together."""
        cores, seconds = self.plan.cores, self.plan.seconds
        measured, used, busy = self.put_under_load(connections, seconds)
        requests = sum(one["requests"] for one in measured)
        elapsed = max(one["seconds"] for one in measured)
        loads = sum(one["load_cpu"] * one["seconds"] for one in measured)
        others = max(busy[cores.server] - used, busy[cores.load] - loads)
        return {
            "server": self.key,
            "workload": EXERCISE,
            "connections": connections,
            "requests": requests,
            "seconds": elapsed,
            "requests_per_second": requests / elapsed,
            "cpu_us_per_request": used / requests * 1e6,
            "server_cpu_share": used / elapsed,
            "load_cpu_share": loads / elapsed,
            "others_cpu_share": max(0.0, others) / elapsed,
            "p50_us": max(one["p50_us"] for one in measured),
            "p99_us": max(one["p99_us"] for one in measured),
        }


def measure_apart(plan: Plan, server: Server) -> Findings:
    """Measure daemons, each of which is `server`, side by side on the server's core."""
    with ExitStack() as stack:
        daemons = [
            stack.enter_context(
                running(server, plan.scratch / f"{server.key}-{number}", plan.cores)
            )
            for number in range(DAEMONS)
        ]
        apart = _Apart(plan, server.key, daemons)
        apart.put_under_load(max(CONNECTIONS), WARM_UP)
        loads = [apart.measure(count) for count in (*CONNECTIONS, MANY)]
    return Findings(loads, [], [])
