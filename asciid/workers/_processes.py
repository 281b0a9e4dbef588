"""The writer and the workers: started in order, replaced one by one, stopped."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from attrs import define
from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from asciid.workers._inheritance import FIRST_INHERITED
from asciid.workers._supervised import Program, SupervisedProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from asciid.runtime.reactor import Reactor

__all__ = ["KILL_AFTER", "REPLACED_WITHIN", "WRITER", "Processes"]

WRITER = "writer"

KILL_AFTER = 5
"""Seconds beyond the time to drain after which a process is killed."""

REPLACED_WITHIN = 30.0
"""Seconds for a successor to be ready; then its start has failed."""

_log = Logger()


@define
class _Worker:
    """A worker, and how many processes have been it, this one included."""

    number: int
    generation: int
    process: SupervisedProcess


class Processes:
    """
    The writer and the workers.

    All inherit `shared`, and the writer `record`; `inherited` returns further
    descriptors of a worker: its argument is the number of the worker, from 1 on.  A
    process has `drain_timeout` seconds to stop.  `on_exit` is called for each
    unexpected exit.
    """

    def __init__(  # noqa: PLR0913 - what processes need
        self,
        reactor: Reactor,
        *,
        workers: int,
        environment: Mapping[str, str],
        shared: Mapping[int, int],
        record: int,
        inherited: Callable[[int], Sequence[int]],
        drain_timeout: int,
        on_exit: Callable[[], object],
    ) -> None:
        self._reactor = reactor
        self._environment = environment
        self._shared = shared
        self._record = record
        self._inherited = inherited
        self._drain_timeout = drain_timeout
        self._on_exit = on_exit
        self._started: list[SupervisedProcess] = []
        """Processes that run, or have not exited yet."""
        self._stopping = False
        self._writer = self._new_writer()
        self._workers = [
            _Worker(number, 1, self._new_worker(number, 1))
            for number in range(1, workers + 1)
        ]

    async def start(self) -> bool:
        """Start the writer, then the workers; return False if they were stopped."""
        if not await self._start(self._writer):
            return False
        starting = [self._start(worker.process) for worker in self._workers]
        return all([await each for each in starting])

    def stop(self) -> Deferred[None]:
        """Stop all processes; fires once they have exited."""
        self._stopping = True
        stopping = [process.stop() for process in list(self._started)]
        return DeferredList(stopping).addCallback(lambda _: None)

    async def replace(self) -> bool:
        """
        Replace every process by a new one, one after the other.

        Return False if a new one is not ready in time; then the others are kept.
        """
        for worker in self._workers:
            if not await self._replace_worker(worker):
                return False
        return await self._replace_writer()

    def reread(self) -> None:
        """Have all processes reread their files."""
        for process in self._started:
            process.reread()

    async def _replace_worker(self, worker: _Worker) -> bool:
        """Have a successor accept connections before this process stops."""
        if self._stopping:
            return False
        successor = self._new_worker(worker.number, worker.generation + 1)
        if not await self._is_ready_in_time(successor):
            # The old one keeps running.
            self._stop(successor, replaced=False)
            return False
        self._stop(worker.process, replaced=True)
        worker.generation += 1
        worker.process = successor
        return True

    async def _replace_writer(self) -> bool:
        """Stop the writer before another one is started: there is one at a time."""
        await self._stop(self._writer, replaced=True)
        if self._stopping:
            return False
        self._writer = self._new_writer()
        return await self._is_ready_in_time(self._writer)

    async def _is_ready_in_time(self, process: SupervisedProcess) -> bool:
        """Start a process; log if it is not ready within `REPLACED_WITHIN` seconds."""
        starting = self._start(process)
        try:
            return await starting.addTimeout(REPLACED_WITHIN, self._reactor)
        except defer.TimeoutError:
            _log.error(
                "rolling restart failed: {process} is not ready after {seconds:.0f} s",
                process=process.program.name,
                seconds=REPLACED_WITHIN,
            )
            return False

    def _start(self, process: SupervisedProcess) -> Deferred[bool]:
        self._started.append(process)
        return process.start()

    def _stop(self, process: SupervisedProcess, *, replaced: bool) -> Deferred[None]:
        stopped = process.stop(replaced=replaced)
        return stopped.addCallback(lambda _: self._started.remove(process))

    def _new_writer(self) -> SupervisedProcess:
        return self._new_process(WRITER, "writer", lambda: [self._record])

    def _new_worker(self, number: int, generation: int) -> SupervisedProcess:
        name = f"worker-{number}.{generation}"
        return self._new_process(name, "worker", partial(self._inherited, number))

    def _new_process(
        self, name: str, role: str, inherited: Callable[[], Sequence[int]]
    ) -> SupervisedProcess:
        def descriptors() -> Mapping[int, int]:
            return {**self._shared, **dict(enumerate(inherited(), FIRST_INHERITED))}

        return SupervisedProcess(
            Program(
                name,
                [sys.executable, "-P", "-m", "asciid.workers", role],
                self._environment,
                descriptors,
            ),
            reactor=self._reactor,
            stop_timeout=self._drain_timeout + KILL_AFTER,
            retire_timeout=self._drain_timeout,
            on_exit=self._on_exit,
        )
