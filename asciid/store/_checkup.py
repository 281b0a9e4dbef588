"""Tells whether a store can do its work, and has it tried where that is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field, frozen

from asciid.errors import AsciidError, StorageFullError, StoreBusyError
from asciid.store._operations import Probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.store._submit import Change, InBackground

__all__ = ["PATIENCE", "PROBE_EVERY", "Checkup", "StoreHealth"]

PROBE_EVERY = 1.0
"""Seconds between two probes at the least."""

PATIENCE = 10.0
"""Seconds after which a probe that is not answered has met a disk that hangs."""


@frozen
class StoreHealth:
    """Whether a store can do its work."""

    open: bool
    """Whether it takes work: it was started, and does not stop."""
    writes: bool
    """Whether the last commit succeeded, as far as any was tried."""
    has_room: bool
    """Whether there is more room than the reserve, or enough inside the file."""


@define(eq=False)
class Checkup:
    """
    Has writing tried now and then, and remembers what came of it.

    A store that nobody writes to, perhaps because it was said to fail, would
    never learn that it works again.  `monotonic` is in seconds.
    """

    change: Change
    in_background: InBackground
    monotonic: Callable[[], float]
    writes: bool = field(init=False, default=True)
    """See `StoreHealth.writes`."""
    has_room: bool = field(init=False, default=True)
    """See `StoreHealth.has_room`."""
    _began: float = field(init=False, default=float("-inf"))
    _under_way: bool = field(init=False, default=False)

    @property
    def hangs(self) -> bool:
        """Whether a probe is overdue."""
        return self._under_way and self.monotonic() - self._began >= PATIENCE

    def begin(self) -> None:
        """Begin a probe, unless one is under way or was begun a moment ago."""
        now = self.monotonic()
        if not self._under_way and now - self._began >= PROBE_EVERY:
            self._began = now
            self._under_way = True
            self.in_background(self._probe())

    async def _probe(self) -> None:
        try:
            await self.change(Probe())
        except StoreBusyError:
            return  # it has told nothing
        except StorageFullError:
            self.has_room = False
        except AsciidError:
            self.writes = False
        else:
            self.writes = self.has_room = True
        finally:
            self._under_way = False
