"""
The LMDB environment: opening it, running transactions on it, growing its map.

`Environment.open`, `remap` and `close` must not run beside anything else on
the same object; the methods that run transactions may run in any thread, one
`execute` at a time.
"""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import lmdb
from attrs import define, field

from asciid.engines._fault_log import FaultLog
from asciid.engines.lmdb._batch import Batch
from asciid.engines.lmdb._databases import (
    MAX_DATABASES,
    Databases,
    Snapshot,
    check_version,
    open_databases,
    pages_in_use,
)
from asciid.engines.lmdb._directories import DATA_FILE, LMDB_LOCK_FILE, sync_directory
from asciid.engines.lmdb._length import check_length
from asciid.engines.lmdb._lock import StorageMovedError, make_room_for_readers
from asciid.engines.lmdb._performing import perform
from asciid.engines.lmdb._reserve import Reserve
from asciid.engines.lmdb._residency import Residency, SharedBytes
from asciid.engines.lmdb._uploads import WriterMemory
from asciid.errors import AsciidError, StoreVersionError
from asciid.runtime.frames import forget_frames, forget_tracebacks
from asciid.store.pending import NO_LIMITS, PendingLimits, PendingUploads
from asciid.store.stats import StoreEvents

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from asciid.engines.lmdb._performing import Task

__all__ = ["DATA_FILE", "Environment", "EnvironmentClosedError", "identity_of"]

ResultT = TypeVar("ResultT")

_MAX_READERS = 512
"""Reads at the same time, over all processes; a slot takes 64 bytes."""


def identity_of(path: Path) -> tuple[int, int]:
    """
    Return the inode numbers of the data file and of LMDB's lock file.

    Two processes see one another's reads only if both have the same.

    Errors: `OSError`.
    """
    return (path / DATA_FILE).stat().st_ino, (path / LMDB_LOCK_FILE).stat().st_ino


class EnvironmentClosedError(lmdb.Error):
    """The environment is closed, because it could not be opened again."""


@define(eq=False)
class Environment:
    """
    The LMDB environment in the directory `path`, whose lock this process has.

    Other processes may only read it, in the same PID namespace: LMDB identifies
    readers by their process ids.
    """

    path: Path
    sync: bool
    clock: Callable[[], float]
    """Returns the time in seconds since the epoch."""
    stamp: Callable[[], float]
    """Returns stamps, as `Stamps.now`."""
    map_size: int
    """Bytes of address space to begin with; the file may need more."""
    readonly: bool = field(default=False, kw_only=True)
    """Whether another process writes; it must have created the file."""
    fault_log: FaultLog = field(factory=partial(FaultLog, "Writing"), kw_only=True)
    """Counts commits that succeed."""
    pending: PendingLimits = field(default=NO_LIMITS, kw_only=True)
    """How many uploads may be pending."""
    reserve: Reserve = field(kw_only=True)
    """The space to keep free around the file; none by default."""
    check_directory: Callable[[], object] = field(default=lambda: None, kw_only=True)
    """Raises `StorageMovedError` if `path` names another directory, or none."""
    creates: bool = field(default=True, kw_only=True)
    """Whether `open` creates a file that is missing; only the first one does."""
    accepts_old: bool = field(default=False, kw_only=True)
    """Whether `open` accepts a file of the format before this one."""
    is_old: bool = field(init=False, default=False)
    """Whether the open file has that format."""
    events: StoreEvents = field(init=False, factory=StoreEvents)
    """Counts of committed changes."""
    removed: list[str] = field(init=False, factory=list)
    """The hashes of images whose removal the last `execute` committed."""
    in_doubt: bool = field(init=False, default=False)
    """Whether the last `execute` failed, and may have been committed all the same."""
    identity: tuple[int, int] = field(init=False, default=(0, 0))
    """The `identity_of` the files that are open."""
    _data_path: Path = field(init=False)
    _shared_bytes: SharedBytes = field(init=False, factory=SharedBytes)
    _residency: Residency = field(init=False)
    _open: lmdb.Environment | None = field(init=False, default=None)
    _databases: Databases = field(init=False)
    _memory: WriterMemory = field(init=False)
    _unsynced: bool = field(init=False, default=False)
    """Whether file and directory are to be synced before anything is committed."""
    _file: os.stat_result | None = field(init=False, default=None)
    """The status of the file that is open; None if it may be another one."""

    @reserve.default
    def _(self) -> Reserve:
        return Reserve(self.path, 0, time.monotonic)

    @_data_path.default
    def _(self) -> Path:
        return self.path / DATA_FILE

    @_residency.default
    def _(self) -> Residency:
        return Residency(self._data_path, self._shared_bytes)

    @_memory.default
    def _(self) -> WriterMemory:
        return WriterMemory(pending=PendingUploads(self.pending))

    def open(self) -> None:
        """
        Open the environment, creating the file if it `creates`.

        Errors: `StorageMovedError`, `StoreVersionError`, `CutShortError`, `OSError`,
        `lmdb.Error`.
        """
        self._check_files()
        self._open = self._opened()
        self._shared_bytes.open()
        self._file = None if self.readonly else self._data_path.stat()
        self._unsynced = self.sync
        self.creates = False

    def _opened(self) -> lmdb.Environment:
        self._residency.forget_mappings()
        make_room_for_readers(self.path, _MAX_READERS)
        try:
            env = lmdb.open(
                os.fsencode(self.path),  # in bytes: not every name is text
                map_size=self.map_size,
                max_dbs=MAX_DATABASES,
                max_readers=_MAX_READERS,
                mode=0o640,
                sync=self.sync,
                metasync=self.sync,
                readonly=self.readonly,
            )
        except (lmdb.InvalidError, lmdb.VersionMismatchError) as error:
            message = (
                f"{self.path} does not hold asciid images ({error}): move it away "
                "or name another storage directory"
            )
            raise StoreVersionError(message) from error
        try:
            while not self._is_usable(env):
                pass
            self.identity = identity_of(self.path)
        except BaseException:
            env.close()
            raise
        self._memory.clear()
        return env

    def _is_usable(self, env: lmdb.Environment) -> bool:
        """Check the opened file; return False if it has grown meanwhile."""
        try:
            env.reader_check()
            if not self.readonly:
                check_length(env, self._data_path)
            self.is_old = check_version(
                env,
                self.path,
                readonly=self.readonly,
                accepts_old=self.accepts_old,
            )
            self._databases = open_databases(env)
        except lmdb.MapResizedError:
            env.set_mapsize(0)
            return False
        return True

    def close(self) -> None:
        """Close the environment, if it is open."""
        if self._open is not None:
            self._residency.forget_mappings()
            self._open.close()
            self._open = None
            self._shared_bytes.close()

    @property
    def is_open(self) -> bool:
        """Whether it can be read."""
        return self._open is not None

    def reopen(self) -> None:
        """
        Close the environment and open its file again.

        Errors: those of `open`; it is closed then.
        """
        self.close()
        self.open()

    def expect_another_file(self) -> None:
        """Let `reopen` open whatever file is there: this process exchanges it."""
        self.check_place()
        self._file = None

    def check_place(self) -> None:
        """
        Check that the path names the directory and the file that are open.

        Errors: `StorageMovedError`, `OSError`.
        """
        self.check_directory()
        try:
            if self._file is None or os.path.samestat(
                self._file, self._data_path.stat()
            ):
                return
        except FileNotFoundError:
            pass
        message = f"{self._data_path} is no longer the file that was opened"
        raise StorageMovedError(message)

    def _check_files(self) -> None:
        """Check that `open` would neither create a file nor open a wrong one."""
        self.check_place()
        if self.creates:
            return
        for name in (DATA_FILE, LMDB_LOCK_FILE):
            if not (self.path / name).exists():
                message = f"{self.path / name} was removed"
                raise StorageMovedError(message)
        if self._file is not None and identity_of(self.path) != self.identity:
            # Processes with different lock files do not see one another's reads.
            message = f"{self.path / LMDB_LOCK_FILE} was replaced"
            raise StorageMovedError(message)

    @property
    def uploads(self) -> PendingUploads[int]:
        """The pending uploads, as far as they are counted."""
        return self._memory.pending

    @property
    def _env(self) -> lmdb.Environment:
        if self._open is None:
            message = "the storage is closed"
            raise EnvironmentClosedError(message)
        return self._open

    def execute(self, tasks: Sequence[Task]) -> Sequence[object]:
        """
        Run tasks in one transaction, commit, and return their outcomes.

        An outcome is a result or the exception of that task alone.  A task that
        raises anything but a domain error or an LMDB one is taken out, and the
        others are run again without it.

        Errors: `OSError`, `lmdb.Error`; nothing was committed then, unless it is
        `in_doubt`.
        """
        self.removed = []
        self.in_doubt = False
        if self._unsynced:
            self._sync_found()
        outcomes: list[object] = [None] * len(tasks)
        todo = list(enumerate(tasks))
        while True:
            broken = self._attempt(todo, outcomes)
            if broken is None:
                return outcomes
            todo = [entry for entry in todo if entry[0] != broken]

    def read(self, query: Callable[[Snapshot], ResultT]) -> ResultT:
        """
        Answer `query` from the state last committed.

        Values are given as buffers that are valid only during the call.

        Errors: those of `query`, `lmdb.Error`.
        """
        try:
            return self._answer(query)
        except Exception as error:
            forget_frames(error)
            raise

    def _answer(self, query: Callable[[Snapshot], ResultT]) -> ResultT:
        """See `read`, whose own frame thus keeps no buffer alive in a traceback."""
        with self._env.begin(buffers=True) as transaction:
            relieve = self._residency.check
            answer = query(Snapshot(transaction, self._databases, relieve))
            relieve()
            return answer

    def remap(self, *, grow: bool) -> None:
        """
        Double the map, or adopt the size that the writer has grown it to.

        No transaction may be open in this process.
        """
        self._memory.clear()
        self._residency.forget_mappings()
        size = self._env.info()["map_size"] * 2 if grow else 0
        self._env.set_mapsize(size)
        self.map_size = self._env.info()["map_size"]

    def release_dead_readers(self) -> None:
        """
        Release the reader slots of processes that were killed within a read.

        LMDB keeps for them all pages that were in use then, and none of those can
        be used again.  The environment must stay open meanwhile.

        Errors: `lmdb.Error`.
        """
        self._env.reader_check()

    def copy(self, path: Path) -> None:
        """
        Copy the state last committed to the empty directory `path`, compacted.

        Other processes may write meanwhile.

        Errors: `OSError`, `lmdb.Error`.
        """
        self._env.copy(os.fsencode(path), compact=True)  # type: ignore[arg-type] # as for open, its types know no bytes

    def copy_to(self, descriptor: int) -> None:
        """
        Write the state last committed to a descriptor, compacted.

        Errors: `lmdb.MapResizedError`, with nothing written; `OSError`, `lmdb.Error`.
        """
        self._env.copyfd(descriptor, compact=True)

    def _reusable(self, transaction: lmdb.Transaction[Any]) -> int:
        """Return the bytes of pages in the file that no database uses."""
        used = pages_in_use(transaction, self._databases)
        page_size: int = transaction.stat()["psize"]
        return (self._env.info()["last_pgno"] + 1 - used) * page_size

    def _sync_found(self) -> None:
        """
        Sync the data found when the environment was opened.

        The process that used it before may have ended, or met an error, between a write
        and its sync, and later commits build on that data.
        A new file survives a power cut once its directory is synced.
        """
        self._env.sync(force=True)
        sync_directory(self.path)
        self._unsynced = False

    def _attempt(
        self,
        todo: Sequence[tuple[int, Task]],
        outcomes: list[object],
    ) -> int | None:
        """Run and commit; return the index of a task that broke, if any."""
        reserve, committing = self.reserve, False
        try:
            # The end of this block commits: LMDB writes the pages and calls fdatasync.
            with self._env.begin(write=True) as transaction:
                reserve.begin(partial(self._reusable, transaction))
                batch = Batch(
                    transaction,
                    self._databases,
                    self._memory,
                    now=int(self.clock() * 1000),
                    stamp=int(self.stamp() * 1000),
                    failing=self.fault_log.failing,
                )
                for index, task in todo:
                    try:
                        outcomes[index] = perform(batch, task, reserve)
                    except AsciidError as error:
                        forget_tracebacks(error)
                        outcomes[index] = error
                    except lmdb.Error:
                        raise
                    except Exception as error:  # noqa: BLE001 - its outcome
                        outcomes[index] = error
                        transaction.abort()
                        self._memory.clear()
                        return index
                batch.flush()
                # A commit to a file that no path names would be lost.
                self.check_place()
                # To find free pages, pages were read.
                self._residency.check()
                committing = True
        except BaseException:
            self.in_doubt = committing
            self._memory.clear()
            raise
        if batch.changed:
            self.events.add(batch.events)
            self.removed = batch.removed
            self.fault_log.succeeded()
        return None
