"""Compaction of the storage of a store that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from attrs import frozen

from asciid.engines.lmdb._copying import make_copy, put_in_place
from asciid.errors import StoreClosedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from asciid.engines._batching import BatchWriter, ReadPool
    from asciid.engines.lmdb._copying import Copied
    from asciid.engines.lmdb._environment import Environment
    from asciid.engines.lmdb._peers import IPeers

__all__ = ["Compaction"]

ResultT = TypeVar("ResultT")


@frozen(eq=False)
class Compaction:
    """
    Puts a copy without unused room in the place of a store's file.

    Writes wait from begin to end, so that the copy has all of them.  Reads wait
    only for those before them, while the file is exchanged; so do those of
    `peers`.
    """

    environment: Environment
    writer: BatchWriter[Any]
    reads: ReadPool
    peers: IPeers
    stopping: Callable[[], bool]
    """Whether to abort: the store is to be stopped."""

    def run(self) -> Deferred[Copied]:
        """
        Compact the file.

        Errors: `StorageInUseError` if a peer does not close the file,
        `DamagedError`, `StoreClosedError`, `OSError`, `lmdb.Error`; the storage
        is unchanged then.
        """
        return self.writer.run_alone(self._compact)

    async def _compact(self) -> Copied:
        try:
            copied = await self.writer.call_in_thread(
                lambda: make_copy(self.environment, self._pace)
            )
            await self.peers.close_file()
            await self._without_reads(self._exchange)
        finally:
            # Others may use the storage again, too, from here on.
            try:
                await self._without_reads(self.environment.reopen)
            finally:
                # Even if this process could not: each tries until it can.
                await self.peers.open_file()
        return copied

    def _exchange(self) -> None:
        self.environment.expect_another_file()
        try:
            put_in_place(self.environment.path)
        finally:
            # A peer that has lost its connection still has the old files open.
            self.peers.count_file()

    async def _without_reads(self, call: Callable[[], ResultT]) -> ResultT:
        """Make `call` in the writer's thread while nothing is read."""
        await self.reads.hold()
        try:
            return await self.writer.call_in_thread(call)
        finally:
            self.reads.release()

    def _pace(self, _: int) -> None:
        if self.stopping():
            raise StoreClosedError
