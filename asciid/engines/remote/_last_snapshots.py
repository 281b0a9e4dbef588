"""What workers have counted, those included that are not there any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from asciid.metrics import lasting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["LastSnapshots"]


_REST = ""
"""The name of processes whose own names are forgotten."""


@define(eq=False)
class LastSnapshots:
    """
    Remembers the figures of processes, by the names of these.

    A counter that becomes less has begun anew, to Prometheus, and all that it says
    is new.  So what a process is known to have counted must be exported further,
    whether it has ended or does not answer.  At most `kept` processes that have ended
    are kept apart, as one may connect again.
    """

    saved: Mapping[str, bytes]
    """What `all` returned in the process before this one."""
    kept: int = 16
    _present: dict[str, bytes] = field(init=False, factory=dict)
    _ended: dict[str, bytes] = field(init=False)
    _rest: bytes | None = field(init=False)
    """What processes before those have counted, added up."""

    @_ended.default
    def _(self) -> dict[str, bytes]:
        return {name: lasting([one]) for name, one in self.saved.items()}

    @_rest.default
    def _(self) -> bytes | None:
        return self._ended.pop(_REST, None)

    def note(self, name: str, snapshot: bytes) -> None:
        """Remember the snapshot of a process; see `asciid.metrics.snapshot`."""
        self._present[name] = snapshot
        # One that was cut off has in it all that it counted before.
        self._ended.pop(name, None)

    def end(self, name: str) -> None:
        """Take note that a process is not there any more."""
        snapshot = self._present.pop(name, None)
        if snapshot is None:
            return
        self._ended[name] = lasting([snapshot])
        while len(self._ended) > self.kept:
            oldest = self._ended.pop(next(iter(self._ended)))
            self._rest = oldest if self._rest is None else lasting([self._rest, oldest])

    def all(self) -> dict[str, bytes]:
        """Return all that is known, to be `saved`."""
        rest = {} if self._rest is None else {_REST: self._rest}
        return {**rest, **self._ended, **self._present}

    def others(self, name: str) -> Sequence[bytes]:
        """Return what all but one have counted, as far as is known."""
        present = [one for other, one in self._present.items() if other != name]
        rest = [] if self._rest is None else [self._rest]
        return [*present, *self._ended.values(), *rest]
