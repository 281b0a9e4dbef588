"""Compares the cost of requests with the limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kinds import HOT_GET, MIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MORE_ALLOWED = 0.03
"""How much dearer the exercise may be than the commit that it is compared with."""

DAEMON_LIMITS = {MIX: 128_000, HOT_GET: 48_000}
"""Instructions of a request in the daemon, at most."""
MEANINGLESS = 0.003
"""Smaller changes are those of the interpreter's layout in memory."""


def per_request(totals: Sequence[int], requests: int) -> float:
    """
    Return the instructions of one request.

    `totals` are those of the warm-up, of a smaller and of a larger load, which has
    `requests` more.
    """
    _, smaller, larger = totals
    return (larger - smaller) / requests


class Verdict(NamedTuple):
    """Whether the exercise is dearer than it may be."""

    change: float
    """1 is twice as dear, 0 the same, negative cheaper."""

    @property
    def passed(self) -> bool:
        """Whether it is not."""
        return self.change <= MORE_ALLOWED

    def __str__(self) -> str:
        """Return the line that is printed."""
        return (
            f"the exercise takes {self.change:+.2%} instructions "
            f"(at most {MORE_ALLOWED:+.0%}): {'passed' if self.passed else 'FAILED'}"
        )


def compare(now: float, before: float) -> Verdict:
    """Compare the instructions of one request of the exercise."""
    return Verdict(now / before - 1)


def check_limits(costs: Mapping[str, float]) -> Iterator[tuple[bool, str]]:
    """Yield for each limit of the daemon whether it is kept, and the line to print."""
    for kind, most in DAEMON_LIMITS.items():
        passed = costs[kind] <= most
        figures = f"{costs[kind]:,.0f} instructions (at most {most:,})"
        yield passed, f"{kind}: {figures}: {'passed' if passed else 'FAILED'}"


def dearer(now: Mapping[str, float], before: Mapping[str, float]) -> list[str]:
    """Return the kinds of requests that take more instructions than before."""
    return [kind for kind in now if now[kind] > before[kind] * (1 + MEANINGLESS)]


def table(
    title: str, columns: Mapping[str, Mapping[str, float]], rows: Sequence[str]
) -> Iterator[str]:
    """
    Yield the lines of a table of instructions a request, one row a kind.

    The last of several columns is the first one's change against the second.
    """
    change = "change" if len(columns) > 1 else ""
    heads = "".join(f"{head:>14}" for head in columns)
    yield f"{title:<26}{heads}{change:>10}"
    for row in rows:
        values = [column[row] for column in columns.values()]
        cells = "".join(f"{value:>14,.0f}" for value in values)
        change = f"{values[0] / values[1] - 1:+.2%}" if len(values) > 1 else ""
        yield f"{row:<26}{cells}{change:>10}"
