"""Makes the store of a process, as its settings say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.admin.control import Control
from asciid.admin.owner_commands import Maintenance
from asciid.store import Lifetimes, LMDBStore, MemoryStore, PendingLimits
from asciid.store.sharing import ALONE

if TYPE_CHECKING:
    from pathlib import Path

    from asciid.config.settings import Settings
    from asciid.runtime.reactor import Reactor
    from asciid.store import IImageStore
    from asciid.store.sharing import Generations, IPeers, StorageLock

__all__ = ["lifetimes_of", "make_control", "make_disk_store", "make_store"]


def lifetimes_of(settings: Settings) -> Lifetimes:
    """Return how long things are kept."""
    return Lifetimes(settings.upload_ttl, settings.image_ttl)


def make_store(settings: Settings, reactor: Reactor) -> IImageStore:
    """Return the store of a process that is alone."""
    if settings.storage is None:
        return MemoryStore(
            lifetimes=lifetimes_of(settings), pending=_pending_limits(settings)
        )
    return make_disk_store(settings, settings.storage, reactor)


def make_disk_store(  # noqa: PLR0913 - each is a collaborator of its own
    settings: Settings,
    storage: Path,
    reactor: Reactor,
    *,
    peers: IPeers = ALONE,
    lock: StorageLock | None = None,
    generations: Generations | None = None,
) -> LMDBStore:
    """Return the store of the process that writes to `storage`."""
    return LMDBStore(
        storage,
        reactor=reactor,
        sync=settings.sync,
        lifetimes=lifetimes_of(settings),
        reserve=settings.reserve,
        pending=_pending_limits(settings),
        max_queue=settings.max_queue,
        peers=peers,
        lock=lock,
        generations=generations,
    )


def _pending_limits(settings: Settings) -> PendingLimits:
    return PendingLimits(settings.max_uploads, settings.max_client_uploads)


def make_control(
    settings: Settings, store: IImageStore, reactor: Reactor
) -> Control | None:
    """Return the socket for commands on the storage; None for one in memory."""
    if settings.storage is None or not isinstance(store, LMDBStore):
        return None

    maintenance = Maintenance(store, reactor)
    commands = {
        "backup": maintenance.backup,
        "compact": maintenance.compact,
        "verify": maintenance.verify,
    }
    return Control(settings.storage, commands, reactor, maintenance.stop)
