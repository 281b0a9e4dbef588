"""Makes the engine of a process from its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.admin.control import Control
from asciid.admin.owner_commands import Maintenance
from asciid.engines.lmdb import ALONE, LMDBEngine
from asciid.engines.memory import MemoryEngine
from asciid.store import Lifetimes, PendingLimits

if TYPE_CHECKING:
    from pathlib import Path

    from asciid.config.settings import Settings
    from asciid.engines.lmdb import IPeers
    from asciid.engines.lmdb.maintenance import StorageLock
    from asciid.runtime.reactor import Reactor
    from asciid.store.engine import IEngine

__all__ = ["lifetimes_of", "make_control", "make_engine", "make_lmdb_engine"]


def make_engine(settings: Settings, reactor: Reactor) -> tuple[IEngine, Control | None]:
    """Return the engine of a daemon of one process, and its control socket."""
    if settings.storage is None:
        memory = MemoryEngine(
            reactor=reactor,
            pending=_pending_limits(settings),
            max_queue=settings.max_queue,
        )
        return memory, None
    engine = make_lmdb_engine(settings, settings.storage, reactor)
    return engine, make_control(settings.storage, engine, reactor)


def make_lmdb_engine(
    settings: Settings,
    storage: Path,
    reactor: Reactor,
    *,
    peers: IPeers = ALONE,
    lock: StorageLock | None = None,
) -> LMDBEngine:
    """Return the engine that writes to `storage`."""
    return LMDBEngine(
        storage,
        reactor=reactor,
        sync=settings.sync,
        reserve=settings.reserve,
        pending=_pending_limits(settings),
        max_queue=settings.max_queue,
        peers=peers,
        lock=lock,
    )


def lifetimes_of(settings: Settings) -> Lifetimes:
    """Return how long images and uploads are kept."""
    return Lifetimes(settings.upload_ttl, settings.image_ttl)


def make_control(storage: Path, engine: LMDBEngine, reactor: Reactor) -> Control:
    """Return the control socket of `engine`, in `storage`."""
    maintenance = Maintenance(engine, reactor)
    commands = {
        "backup": maintenance.backup,
        "compact": maintenance.compact,
        "verify": maintenance.verify,
    }
    return Control(storage, commands, reactor, maintenance.stop)


def _pending_limits(settings: Settings) -> PendingLimits:
    return PendingLimits(settings.max_uploads, settings.max_client_uploads)
