"""Keeps the metrics of workers, also after they have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from asciid.metrics import lasting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["LastSnapshots"]


_REST = ""
"""The name of the sum of processes that are not kept apart."""


@define(eq=False)
class LastSnapshots:
    """
    The last snapshots of processes, by their names.

    To Prometheus, a counter that decreases was reset.  So the counts of a process must
    be exported after it has ended, and while it does not answer.  At most `kept` ended
    processes are kept apart, as one may connect again.
    """

    saved: Mapping[str, bytes]
    """The result of `all` in the previous process."""
    kept: int = 16
    _present: dict[str, bytes] = field(init=False, factory=dict)
    _ended: dict[str, bytes] = field(init=False)
    _rest: bytes | None = field(init=False)
    """The sum of the counters of earlier processes."""

    @_ended.default
    def _(self) -> dict[str, bytes]:
        return {name: lasting([one]) for name, one in self.saved.items()}

    @_rest.default
    def _(self) -> bytes | None:
        return self._ended.pop(_REST, None)

    def record(self, name: str, snapshot: bytes) -> None:
        """Store the snapshot of a process; see `asciid.metrics.snapshot`."""
        self._present[name] = snapshot
        # The counters of a process that connects again include earlier ones.
        self._ended.pop(name, None)

    def end(self, name: str) -> None:
        """Record that a process has ended."""
        snapshot = self._present.pop(name, None)
        if snapshot is None:
            return
        self._ended[name] = lasting([snapshot])
        while len(self._ended) > self.kept:
            oldest = self._ended.pop(next(iter(self._ended)))
            self._rest = oldest if self._rest is None else lasting([self._rest, oldest])

    def all(self) -> dict[str, bytes]:
        """Return all snapshots, to be `saved`."""
        rest = {} if self._rest is None else {_REST: self._rest}
        return {**rest, **self._ended, **self._present}

    def others(self, name: str) -> Sequence[bytes]:
        """Return the snapshots of all processes but one."""
        present = [one for other, one in self._present.items() if other != name]
        rest = [] if self._rest is None else [self._rest]
        return [*present, *self._ended.values(), *rest]
