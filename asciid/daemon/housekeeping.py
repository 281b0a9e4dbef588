"""The periodic task: deletes expired uploads and images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from asciid.errors import AsciidError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from asciid.config.settings import Settings
    from asciid.store import IImageStore

__all__ = ["Housekeeper", "housekeeping_interval"]

_SHORTEST, _LONGEST = 1.0, 60.0

_log = Logger()


def housekeeping_interval(settings: Settings) -> float:
    """
    Return the seconds between two calls of `expire`.

    It is a twentieth of the shortest lifetime, from 1 to 60 seconds.
    """
    lifetimes = [ttl for ttl in (settings.upload_ttl, settings.image_ttl) if ttl]
    return max(_SHORTEST, min([_LONGEST, *(ttl / 20 for ttl in lifetimes)]))


class Housekeeper:
    """
    Calls `IImageStore.expire` every `interval` seconds, one call at a time.

    `clock` provides IReactorTime.  Of failures in a row the first is logged.
    """

    def __init__(
        self,
        store: IImageStore,
        *,
        clock: IReactorTime,
        interval: float,
    ) -> None:
        self._store = store
        self._interval = interval
        self._failing = False
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._tidy()))
        self._loop.clock = clock

    def start(self) -> None:
        """Start, with a first call at once; the store must have been started."""
        self._loop.start(self._interval)

    def stop(self) -> None:
        """Make no further call."""
        if self._loop.running:
            self._loop.stop()

    async def _tidy(self) -> None:
        try:
            removed = await self._store.expire()
        except AsciidError as error:
            if not self._failing:
                _log.warn("expiry failed: {error}", error=error)
            self._failing = True
            return
        except Exception:  # noqa: BLE001 - the next call may go better
            _log.failure("expiry failed")
            return
        self._failing = False
        if removed:
            _log.info("deleted {n} expired uploads and images", n=removed)
