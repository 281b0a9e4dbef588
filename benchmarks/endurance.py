"""Judges whether a polite client was served well enough during attacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MEBIBYTE = 1024 * 1024

TIMES = 5
"""How many times its p99 alone the polite client's p99 may be under attack."""
ALWAYS_ALLOWED = 10_000
"""Microseconds that it may be in any case."""
ABOVE_IDLE = 48 * MEBIBYTE
"""Bytes that the daemon may take above idle, without bodies and writes."""
NOT_GIVEN_BACK = 20 * MEBIBYTE
"""Bytes that it may keep afterwards, above idle and its cache."""


class Patience(NamedTuple):
    """The polite client's latencies and errors."""

    took: list[int]
    """Microseconds until each answer was complete, or given up."""
    wrong: int
    """Answers that were missing or not the expected ones."""
    shown: list[str]
    """Descriptions of some of these."""

    def percentile(self, fraction: float) -> int:
        """Return how long all but a fraction of the answers took at most, in µs."""
        ordered = sorted(self.took)
        return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))]

    def summary(self) -> dict[str, Any]:
        """Return the figures."""
        return {
            "requests": len(self.took),
            "wrong": self.wrong,
            "wrong_shown": self.shown,
            "p50_us": self.percentile(0.5),
            "p99_us": self.percentile(0.99),
            "max_us": max(self.took),
        }


class Memory(NamedTuple):
    """Memory of the daemon, in bytes."""

    idle: int
    peak: int
    after: int | None
    """Some time after the attack; None if it was not measured."""
    cache: int
    """Upper bound of its caches."""
    queues: int
    """Upper bound of buffered bodies and waiting writes."""

    @property
    def peak_allowed(self) -> int:
        """Upper bound during the attack."""
        return self.idle + ABOVE_IDLE + self.queues

    @property
    def after_allowed(self) -> int:
        """Upper bound afterwards."""
        return self.idle + self.cache + NOT_GIVEN_BACK


def merge(parts: Sequence[Patience]) -> Patience:
    """Return several results as one."""
    return Patience(
        [each for part in parts for each in part.took],
        sum(part.wrong for part in parts),
        [each for part in parts for each in part.shown],
    )


def judge(alone: Patience, under_attack: Patience, memory: Memory) -> dict[str, Any]:
    """Return the figures of an attack, and its failures."""
    allowed = max(TIMES * alone.percentile(0.99), ALWAYS_ALLOWED)
    failures = []
    if alone.wrong:
        failures.append(f"wrong answers without an attack: {alone.wrong}")
    if under_attack.wrong:
        failures.append(f"wrong answers: {under_attack.wrong}")
    if under_attack.percentile(0.99) > allowed:
        failures.append(f"p99 over {allowed / 1000:.1f} ms")
    if memory.peak > memory.peak_allowed:
        failures.append(f"peak over {memory.peak_allowed / MEBIBYTE:.0f} MiB")
    if memory.after is not None and memory.after > memory.after_allowed:
        failures.append(f"keeps over {memory.after_allowed / MEBIBYTE:.0f} MiB")
    return {
        "alone": alone.summary(),
        "attacked": under_attack.summary(),
        "p99_allowed_us": allowed,
        "idle_bytes": memory.idle,
        "peak_bytes": memory.peak,
        "peak_allowed_bytes": memory.peak_allowed,
        "after_bytes": memory.after,
        "after_allowed_bytes": memory.after_allowed,
        "failures": failures,
        "passed": not failures,
    }


def table(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table of results, and of what failed."""
    columns = "".join(f"{name:>8}" for name in ("p50", "p99", "max") * 2)
    memory = "".join(f"{name:>7}" for name in ("idle", "peak", "after"))
    yield f"{'':<28}{'alone, ms':>24}{'attacked, ms':>24}{'':>16}{'MiB':>21}"
    yield f"{'':<28}{columns}{'wrong':>8}{'of':>8}{memory}{'others':>8}"
    for result in results:
        times = "".join(
            f"{result[when][figure] / 1000:>8.1f}"
            for when in ("alone", "attacked")
            for figure in ("p50_us", "p99_us", "max_us")
        )
        sizes = "".join(
            f"{'' if size is None else round(size / MEBIBYTE):>7}"
            for size in (
                result["idle_bytes"],
                result["peak_bytes"],
                result["after_bytes"],
            )
        )
        attacked = result["attacked"]
        verdict = "passed" if result["passed"] else "FAILED"
        yield (
            f"{result['title']:<28}{times}{attacked['wrong']:>8}"
            f"{attacked['requests']:>8}{sizes}"
            f"{result['others_cpu_share']:>8.0%}  {verdict}"
        )
    for result in results:
        for failure in result["failures"]:
            yield f"{result['title']}: {failure}"
        for wrong in result["attacked"]["wrong_shown"][:1]:
            yield f"{result['title']}: such as {wrong}"
