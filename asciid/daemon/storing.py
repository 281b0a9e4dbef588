"""Makes the engine of a process from its settings: the only place that chooses one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.config.settings import DatabaseURL
from asciid.engines.lmdb.sharing import LMDBReader, StorageLock, prepare_storage
from asciid.net.database_url import NOT_INSTALLED
from asciid.net.listener import StartError
from asciid.runtime.streams import print_refusal
from asciid.store import Lifetimes, PendingLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.admin.control import Control
    from asciid.config.settings import Settings
    from asciid.engines.lmdb.owning import IPeers, LMDBEngine
    from asciid.engines.remote.worker_side import ILocalReader
    from asciid.runtime.reactor import Reactor
    from asciid.store import StoreUsage
    from asciid.store.engine import IEngine

__all__ = ["SharedStorage", "lifetimes_of", "lists_by_default", "make_engine"]


def make_engine(settings: Settings, reactor: Reactor) -> tuple[IEngine, Control | None]:
    """
    Return the engine of a daemon of one process, and its control socket, if any.

    Errors: `StartError`.
    """
    if settings.storage is None:
        from asciid.engines.memory import MemoryEngine  # noqa: PLC0415 - rare

        memory = MemoryEngine(
            reactor=reactor,
            pending=_pending_limits(settings),
            max_queue=settings.max_queue,
        )
        return memory, None
    if isinstance(settings.storage, DatabaseURL):
        return _make_database_engine(settings, settings.storage, reactor), None
    engine = _make_file_engine(settings, reactor)
    return engine, _make_control(settings, engine, reactor)


class SharedStorage:
    """
    The storage of a daemon of several processes: the writer writes, the workers read.

    `inherited` is the descriptor by which the parent passes on its ownership; None in
    the parent.
    """

    def __init__(self, settings: Settings, inherited: int | None = None) -> None:
        self._settings = settings
        self._lock = StorageLock(
            settings.storage_directory, inherited=inherited, sync=settings.sync
        )

    @property
    def held(self) -> int:
        """The descriptor to inherit, of the storage directory."""
        return self._lock.held

    def acquire(self) -> None:
        """
        Take the ownership, in the parent.

        Errors: `StorageInUseError`, `OSError`.
        """
        self._lock.acquire()

    def release(self) -> None:
        """Give up the ownership."""
        self._lock.release()

    def prepare(self) -> StoreUsage:
        """
        Create the storage unless it exists; return its usage.

        Errors: `StoreVersionError`, `OSError`.
        """
        return prepare_storage(
            self._settings.storage_directory, sync=self._settings.sync
        )

    def make_engine(self, reactor: Reactor, peers: IPeers) -> tuple[IEngine, Control]:
        """Return the engine of the writer, and its control socket."""
        engine = _make_file_engine(
            self._settings, reactor, peers=peers, lock=self._lock
        )
        return engine, _make_control(self._settings, engine, reactor)

    def make_reader(
        self, reactor: Reactor, file_generation: Callable[[], int]
    ) -> ILocalReader:
        """Return what answers queries in a worker; see `LMDBReader`."""
        return LMDBReader(
            self._settings.storage_directory,
            reactor=reactor,
            file_generation=file_generation,
            check_directory=self._lock.check,
        )


def _make_file_engine(
    settings: Settings,
    reactor: Reactor,
    *,
    peers: IPeers | None = None,
    lock: StorageLock | None = None,
) -> LMDBEngine:
    # The parent and the workers do without it.
    from asciid.engines.lmdb.owning import ALONE, LMDBEngine  # noqa: PLC0415

    return LMDBEngine(
        settings.storage_directory,
        reactor=reactor,
        sync=settings.sync,
        reserve=settings.reserve,
        pending=_pending_limits(settings),
        max_queue=settings.max_queue,
        peers=peers or ALONE,
        lock=lock,
        converts_listed=lists_by_default(settings),
    )


def _make_database_engine(
    settings: Settings, database: DatabaseURL, reactor: Reactor
) -> IEngine:
    try:
        # An extra, which is not installed everywhere.
        from asciid.engines.postgresql import (  # noqa: PLC0415
            Database,
            PostgreSQLEngine,
        )
    except ImportError as error:
        why = ImportError(f"{error}: {NOT_INSTALLED}")
        refusal = StartError(f"cannot use the storage {database}", why)
        print_refusal(refusal)
        raise refusal from error
    listen = settings.storage_listen
    return PostgreSQLEngine(
        Database(database.text, None if listen is None else listen.text),
        reactor=reactor,
        pending=_pending_limits(settings),
        max_queue=settings.max_queue,
    )


def lifetimes_of(settings: Settings) -> Lifetimes:
    """Return how long images and uploads are kept."""
    return Lifetimes(settings.upload_ttl, settings.image_ttl)


def lists_by_default(settings: Settings) -> bool:
    """Return whether an image is listed whose uploader does not say."""
    return settings.listing == "all"


def _make_control(settings: Settings, engine: LMDBEngine, reactor: Reactor) -> Control:
    """Return the control socket of `engine`, in the storage directory."""
    # Only the owner of a storage has commands, not the parent and the workers.
    from asciid.admin.control import Control  # noqa: PLC0415
    from asciid.admin.moderation import Moderation  # noqa: PLC0415
    from asciid.admin.owner_commands import Maintenance  # noqa: PLC0415

    maintenance, moderation = Maintenance(engine, reactor), Moderation(engine)
    commands = {
        "backup": maintenance.backup,
        "block": moderation.block,
        "blocked": moderation.blocked,
        "compact": maintenance.compact,
        "unblock": moderation.unblock,
        "verify": maintenance.verify,
    }
    return Control(settings.storage_directory, commands, reactor, maintenance.stop)


def _pending_limits(settings: Settings) -> PendingLimits:
    return PendingLimits(settings.max_uploads, settings.max_client_uploads)
