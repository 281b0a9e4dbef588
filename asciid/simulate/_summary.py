"""The results of a simulation, for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asciid.simulate._simulation import Simulation

__all__ = ["milliseconds", "per_second", "summary"]


def summary(simulation: Simulation) -> dict[str, Any]:
    """Return the results of `simulation` so far, as JSON types."""
    seconds = simulation.seconds
    return {
        "images": simulation.begun,
        "images_ok": simulation.passed,
        "requests": simulation.requests,
        "seconds": round(seconds, 3),
        "operations": [
            {
                "operation": results.operation,
                "ok": results.ok,
                "errors": results.errors,
                "per_second": per_second(results.ok, seconds),
                "p50_ms": milliseconds(results.p50),
                "p99_ms": milliseconds(results.p99),
                "max_ms": milliseconds(results.slowest),
            }
            for results in simulation.tally.results
        ],
    }


def per_second(times: int, seconds: float) -> float:
    """Return the rate per second; 0 if no time has passed."""
    return round(times / seconds, 1) if seconds else 0.0


def milliseconds(seconds: float | None) -> float | None:
    """Return `seconds` in milliseconds, to the microsecond."""
    return None if seconds is None else round(seconds * 1000, 3)
