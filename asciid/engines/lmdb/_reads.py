"""Answers queries from the storage file, in threads."""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import lmdb
from attrs import define, field
from twisted.internet.defer import Deferred

from asciid.engines._fault_log import FaultLog
from asciid.engines.lmdb._answers import Answers
from asciid.engines.lmdb._environment import EnvironmentClosedError
from asciid.errors import (
    StorageFailedError,
    StorageFullError,
    StorageUnreadableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.engines._batching import ReadPool
    from asciid.engines._stamps import Stamps
    from asciid.engines.lmdb._databases import Snapshot
    from asciid.engines.lmdb._environment import Environment
    from asciid.store.queries import Query

__all__ = ["FileReads"]

AnswerT = TypeVar("AnswerT")


@define(eq=False)
class FileReads:
    """
    Reads `environment` in threads of `pool`.

    `make_readable` is called where the file has outgrown the map, or is closed; it
    fails with `StorageFailedError` or `StorageFullError`.
    """

    environment: Environment
    pool: ReadPool
    stamps: Stamps
    make_readable: Callable[[], Deferred[object]]
    _answers: Answers = field(init=False)
    _fault_log: FaultLog = field(init=False)

    @_answers.default
    def _(self) -> Answers:
        return Answers(self.environment.path, self.stamps)

    @_fault_log.default
    def _(self) -> FaultLog:
        return FaultLog("reading from the storage", self.stamps.monotonic)

    def ask(self, query: Query[AnswerT]) -> Deferred[AnswerT]:
        """See `IEngine.ask`."""
        return self.read(partial(self._answers.answer, query=query))

    def read(self, call: Callable[[Snapshot], AnswerT]) -> Deferred[AnswerT]:
        """
        Return the result of `call` for a snapshot.

        Errors: those of `call`, `StorageUnreadableError`, `StoreBusyError`,
        `StoreClosedError`.
        """
        return Deferred.fromCoroutine(self._read(call))

    async def _read(self, call: Callable[[Snapshot], Any]) -> Any:  # noqa: ANN401 - as above
        read = partial(self.environment.read, call)
        while True:
            try:
                answer = await self.pool.run(read)
            except (lmdb.MapResizedError, EnvironmentClosedError):
                try:
                    await self.make_readable()
                except (StorageFailedError, StorageFullError) as error:
                    raise StorageUnreadableError from error
            except (lmdb.Error, struct.error) as error:
                # The latter is a damaged record, which asciid verify mends.
                self._fault_log.failed(str(error))
                raise StorageUnreadableError from error
            else:
                self._fault_log.succeeded()
                return answer
