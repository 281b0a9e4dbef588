"""The processes that do the work: started, kept alive, replaced."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from attrs import define
from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.runner.procmon import ProcessMonitor

from asciid.store.sharing import Generations
from asciid.workers._record import Record
from asciid.workers._spawning import GENERATIONS, LOCK, Spawner
from asciid.workers._watching import READY_WITHIN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["KILL_AFTER", "REPLACED_WITHIN", "WRITER", "Processes"]

WRITER = "writer"

KILL_AFTER = 5
"""Seconds beyond the time to drain after which a process is killed."""

REPLACED_WITHIN = 30.0
"""Seconds for a process to be replaced, before the next one's turn."""

_log = Logger()


@define
class _Place:
    """What one process at a time does."""

    role: str
    number: int = 0
    """Tells workers apart."""
    generation: int = 1
    """How often it was replaced."""

    @property
    def name(self) -> str:
        """What the monitor calls the process."""
        if not self.number:
            return self.role
        return f"{self.role}-{self.number}.{self.generation}"


class Processes:
    """
    One process that writes, and workers that speak HTTP.

    Each gets `environment`, and a worker the descriptors that `inherited` returns for
    its number; the one that writes gets that of a `Record`.  They have `drain_timeout`
    seconds to end when they are told to.
    """

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - several interfaces at once
        *,
        workers: int,
        environment: dict[str, str],
        inherited: Callable[[int], Sequence[int]],
        drain_timeout: int,
    ) -> None:
        self._reactor = reactor
        self._environment = environment
        self._inherited = inherited
        self._spawner = Spawner(reactor, self._came_up, self._is_late, self._ended)
        self._monitor = ProcessMonitor(self._spawner)
        self._monitor.minRestartDelay = 0.1  # type: ignore[assignment] # seconds
        self._monitor.maxRestartDelay = 30
        self._monitor.killTime = drain_timeout + KILL_AFTER
        # The processes that end because they are replaced.
        self._expected: set[str] = set()
        self._record: Record
        self._generations: int
        self._writer = _Place(WRITER)
        self._workers = [_Place("worker", number) for number in range(1, workers + 1)]

    async def start(self, lock: int) -> None:
        """
        Start the process that writes, then the workers; wait until all are ready.

        `lock` is the descriptor of the lock on the storage, which all inherit.
        """
        self._generations = Generations.create_shared()
        self._spawner.shared = {LOCK: lock, GENERATIONS: self._generations}
        self._record = Record()
        self._monitor.startService()
        await self._begin(self._writer)
        await DeferredList([self._begin(worker) for worker in self._workers])

    def stop(self) -> Deferred[None]:
        """End all processes: the workers finish their requests, then the writer."""
        self._monitor.stopService()
        ended = Deferred.fromCoroutine(self._spawner.all_ended())
        return ended.addCallback(lambda _: self._close())

    def _close(self) -> None:
        self._record.close()
        os.close(self._generations)

    async def replace(self) -> None:
        """
        Replace every process by a new one, one after the other.

        Errors: `twisted.internet.defer.TimeoutError` if one does not come up.
        """
        for worker in self._workers:
            await self._replace_worker(worker)
        await self._replace_writer()

    def reread(self) -> None:
        """Have all processes read their files again, but those that yet will."""
        self._spawner.reread()

    async def _replace_worker(self, worker: _Place) -> None:
        """Have another one accept before this one stops to."""
        old = worker.name
        worker.generation += 1
        try:
            await self._begin(worker).addTimeout(REPLACED_WITHIN, self._reactor)
        except defer.TimeoutError:
            _log.error("{process} does not come up", process=worker.name)
            # The one before it goes on.
            self._remove(worker.name)
            worker.generation -= 1
            raise
        self._spawner.announce_successor(old)
        self._remove(old)

    def _expect_end(self, name: str) -> None:
        # One that waits to be started again has ended already.
        if name in self._monitor.protocols:
            self._expected.add(name)

    def _remove(self, name: str) -> None:
        """Have a process end, and none of that name begin."""
        self._expect_end(name)
        self._monitor.removeProcess(name)
        # The monitor would start what it does not know any more.
        again = self._monitor.restart.pop(name, None)
        if again is not None and again.active():
            again.cancel()

    async def _replace_writer(self) -> None:
        """Have this one end: there is one at a time.  The monitor starts the next."""
        ended = self._spawner.ended(WRITER)
        self._spawner.announce_successor(WRITER)
        self._expect_end(WRITER)
        self._monitor.stopProcess(WRITER)
        await ended.addTimeout(REPLACED_WITHIN, self._reactor)
        await self._spawner.ready(WRITER).addTimeout(REPLACED_WITHIN, self._reactor)

    def _begin(self, place: _Place) -> Deferred[None]:
        """Start the process of a place; answer once it does its work."""
        name = place.name
        self._spawner.inherited[name] = (
            self._inherited(place.number) if place.number else [self._record.descriptor]
        )
        self._monitor.addProcess(
            name,
            [sys.executable, "-P", "-m", "asciid.workers", place.role],
            env=self._environment,
        )
        return self._spawner.ready(name)

    def _came_up(self, name: str) -> None:
        # Those that die before they do their work are started later and later.
        # One that did it is not among them, however short its life.
        self._monitor.timeStarted[name] -= self._monitor.threshold

    def _is_late(self, name: str) -> None:
        # One that was given up already has been told of.
        if name not in self._expected:
            _log.error(
                "{process} does not come up: it is not ready after {seconds:.0f} s",
                process=name,
                seconds=READY_WITHIN,
            )

    def _ended(self, name: str, reason: str) -> None:
        if name in self._expected:
            self._expected.remove(name)
        elif self._monitor.running:
            self._record.count_exit()
            _log.warn("{process} ended: {reason}", process=name, reason=reason)
