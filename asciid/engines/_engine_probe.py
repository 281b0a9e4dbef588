"""Probes whether an engine can write and read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import Deferred

from asciid.errors import AsciidError, StorageFullError, StoreBusyError
from asciid.store.operations import Probe, single_outcome
from asciid.store.queries import Several

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asciid.store.background import InBackground
    from asciid.store.queries import Query

__all__ = ["PROBE_EVERY", "PROBE_TIMEOUT", "EngineProbe"]

PROBE_EVERY = 1.0
"""Seconds between two probes at the least."""

PROBE_TIMEOUT = 10.0
"""Seconds after which a probe that is not answered has met a disk that hangs."""


@define
class _Attempt:
    """A probe that is begun at most every `PROBE_EVERY` seconds, one at a time."""

    monotonic: Callable[[], float]
    _began: float = field(init=False, default=float("-inf"))
    _under_way: bool = field(init=False, default=False)

    @property
    def hangs(self) -> bool:
        """Whether it is overdue."""
        return self._under_way and self.monotonic() - self._began >= PROBE_TIMEOUT

    def begin(self) -> bool:
        """Return whether the probe is due; `end` must follow then."""
        now = self.monotonic()
        if self._under_way or now - self._began < PROBE_EVERY:
            return False
        self._began = now
        self._under_way = True
        return True

    def end(self) -> None:
        """Record that the probe has an outcome."""
        self._under_way = False


@define(eq=False)
class EngineProbe:
    """
    Probes writing and reading periodically, and keeps the outcome.

    An engine that is not written to, perhaps because it was reported to fail, would
    never notice that it works again.  `apply` and `ask` are the engine's; `monotonic`
    is in seconds.
    """

    apply: Callable[[Sequence[Probe]], Deferred[Sequence[Any]]]
    ask: Callable[[Query[Any]], Deferred[Any]]
    in_background: InBackground
    monotonic: Callable[[], float]
    writes: bool = field(init=False, default=True)
    """See `StoreHealth.writes`; whether a probe hangs is not in it."""
    has_room: bool = field(init=False, default=True)
    """See `StoreHealth.has_room`."""
    _reads: bool = field(init=False, default=True)
    _writing: _Attempt = field(init=False)
    _reading: _Attempt = field(init=False)

    @_writing.default
    def _(self) -> _Attempt:
        return _Attempt(self.monotonic)

    @_reading.default
    def _(self) -> _Attempt:
        return _Attempt(self.monotonic)

    @property
    def writes_hang(self) -> bool:
        """Whether a probe that writes is overdue."""
        return self._writing.hangs

    @property
    def reads(self) -> bool:
        """See `StoreHealth.reads`."""
        return self._reads and not self._reading.hangs

    def begin(self) -> None:
        """Begin each probe, unless it is under way or was begun a moment ago."""
        self.begin_writing()
        if self._reading.begin():
            # Not in the background: a stop must not wait for a read that is held.
            Deferred.fromCoroutine(self._read())

    def begin_writing(self) -> None:
        """Begin the probe that writes, likewise."""
        if self._writing.begin():
            self.in_background(self._write())

    async def _write(self) -> None:
        try:
            await self.apply((Probe(),)).addCallback(single_outcome)
        except StoreBusyError:
            return  # no evidence about the disk
        except StorageFullError:
            self.has_room = False
        except AsciidError:
            self.writes = False
        else:
            self.writes = self.has_room = True
        finally:
            self._writing.end()

    async def _read(self) -> None:
        try:
            await self.ask(Several(()))
        except StoreBusyError:
            return  # likewise
        except AsciidError:
            self._reads = False
        else:
            self._reads = True
        finally:
            self._reading.end()
