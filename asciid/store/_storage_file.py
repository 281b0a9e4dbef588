"""The storage file for commands that wait: no reactor, no threads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self, TypeVar, cast

import lmdb
from attrs import define, field

from asciid.errors import AsciidError
from asciid.store._environment import DATA_FILE, Environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from asciid.store._batch import Batch
    from asciid.store._databases import Snapshot

__all__ = ["DATA_FILE", "NoStorageError", "StorageFile"]

ResultT = TypeVar("ResultT")

_MAP_SIZE = 2**20
_COPY_TRIES = 5


class NoStorageError(AsciidError):
    """There is no storage in the directory, or it is damaged as a whole."""


@define(eq=False)
class StorageFile:
    """
    The storage in the directory `path`, which must exist; a context manager.

    Daemons may use it at the same time, unless it is `exclusive`.
    """

    path: Path
    exclusive: bool = field(default=False, kw_only=True)
    clock: Callable[[], float] = field(default=time.time, kw_only=True)
    _environment: Environment = field(init=False)

    @_environment.default
    def _(self) -> Environment:
        return Environment(
            self.path,
            sync=True,
            clock=self.clock,
            stamp=self.clock,
            map_size=_MAP_SIZE,
            exclusive=self.exclusive,
        )

    def __enter__(self) -> Self:
        """
        Open it.

        Errors: `NoStorageError`, `StorageInUseError`, `StoreVersionError`,
        `OSError`, `lmdb.Error`.
        """
        if not (self.path / DATA_FILE).is_file():
            message = f"{self.path} is no storage directory: it has no {DATA_FILE}"
            raise NoStorageError(message)
        self._environment.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self._environment.close()

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
        for _ in range(_COPY_TRIES):
            try:
                return self._environment.copy(directory)
            except lmdb.MapResizedError:
                (directory / DATA_FILE).unlink(missing_ok=True)
                self._environment.remap(grow=False)
        message = "the storage grows faster than it can be copied"
        raise OSError(message)
