"""The storage file for commands that wait: no reactor, no threads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self, TypeVar, cast

import lmdb
from attrs import define, field

from asciid.engines.lmdb._directories import DATA_FILE
from asciid.engines.lmdb._environment import Environment
from asciid.engines.lmdb._lock import StorageLock
from asciid.errors import AsciidError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from asciid.engines.lmdb._batch import Batch
    from asciid.engines.lmdb._databases import Snapshot

__all__ = ["DATA_FILE", "NoStorageError", "StorageFile", "StorageUnusableError"]

ResultT = TypeVar("ResultT")

_MAP_SIZE = 2**20


class NoStorageError(AsciidError):
    """The directory is not a storage directory, or its file is unusable."""


class StorageUnusableError(AsciidError):
    """LMDB cannot read or write the storage."""

    def __init__(self, error: lmdb.Error) -> None:
        super().__init__(f"the storage cannot be used: {error}")


@define(eq=False)
class StorageFile:
    """
    The storage in the directory `path`, which must exist; a context manager.

    This process owns the storage within the context: it holds `lock`.
    """

    path: Path
    lock: StorageLock = field(kw_only=True)
    readonly: bool = field(default=False, kw_only=True)
    """Whether another process, which is the owner, writes."""
    accepts_old: bool = field(default=False, kw_only=True)
    """Whether it may have the format before this one, and is used as it is."""
    clock: Callable[[], float] = field(default=time.time, kw_only=True)
    _environment: Environment = field(init=False)

    @lock.default
    def _(self) -> StorageLock:
        return StorageLock(self.path, timeout=0.0)

    @_environment.default
    def _(self) -> Environment:
        return Environment(
            self.path,
            sync=True,
            clock=self.clock,
            stamp=self.clock,
            map_size=_MAP_SIZE,
            readonly=self.readonly,
            accepts_old=self.accepts_old,
        )

    def __enter__(self) -> Self:
        """
        Open it.

        Errors: `NoStorageError`, `StorageInUseError`, `StorageUnusableError`,
        `StoreVersionError`, `OSError`.
        """
        if not (self.path / DATA_FILE).is_file():
            message = f"{self.path} is not a storage directory: it has no {DATA_FILE}"
            raise NoStorageError(message)
        self.lock.acquire()
        try:
            self._environment.open()
        except lmdb.Error as error:
            self.lock.release()
            raise StorageUnusableError(error) from error
        except BaseException:
            self.lock.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """
        Close it.

        Errors: `StorageUnusableError` in the place of a `lmdb.Error`.
        """
        self._environment.close()
        self.lock.release()
        if isinstance(error, lmdb.Error):
            raise StorageUnusableError(error) from error

    @property
    def is_old(self) -> bool:
        """Whether it has the format before this one."""
        return self._environment.is_old

    @property
    def size(self) -> int:
        """The length of the file in bytes."""
        return (self.path / DATA_FILE).stat().st_size

    def read(self, query: Callable[[Snapshot], ResultT]) -> ResultT:
        """
        Answer `query` as `Environment.read` does, however large the file grew.

        Errors: those of `query`, `lmdb.Error`.
        """
        while True:
            try:
                return self._environment.read(query)
            except lmdb.MapResizedError:
                self._environment.remap(grow=False)

    def execute(self, operation: Callable[[Batch], ResultT]) -> ResultT:
        """
        Carry out one operation in a transaction of its own, and sync it.

        Errors: those of `operation`, `lmdb.Error`.
        """
        while True:
            try:
                (outcome,) = self._environment.execute([operation])
            except (lmdb.MapFullError, lmdb.MapResizedError) as error:
                self._environment.remap(grow=isinstance(error, lmdb.MapFullError))
                continue
            if isinstance(outcome, Exception):
                raise outcome
            return cast("ResultT", outcome)

    def copy(self, directory: Path) -> None:
        """
        Copy the state last committed to an empty directory, compacted.

        Errors: `OSError`, `lmdb.Error`.
        """
        self._environment.copy(directory)

    def copy_to(self, descriptor: int) -> None:
        """
        Write the state last committed to a descriptor, compacted.

        Errors: `OSError`, `lmdb.Error`.
        """
        while True:
            try:
                return self._environment.copy_to(descriptor)
            except lmdb.MapResizedError:  # before anything was written
                self._environment.remap(grow=False)
