"""Logs the start of a daemon, and warns of risky settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from asciid import __version__
from asciid.config.values import MEMORY
from asciid.daemon._process_limits import body_limit_warning

if TYPE_CHECKING:
    from asciid.config.settings import Settings
    from asciid.store import StoreUsage

__all__ = ["announce"]

_log = Logger()


def announce(
    settings: Settings, stored: StoreUsage, address: str, metrics: str | None = None
) -> None:
    """
    Log the start at `address`, with metrics at `metrics`, if any.

    Warn of each setting that risks data or memory.
    """
    storage = settings.storage
    _log.info(
        "asciid {version} listens on {address}, storage {storage}, images {images}, "
        "pending uploads {pending}, sync {sync}, workers {workers}",
        version=__version__,
        address=address,
        storage=MEMORY if storage is None else str(storage.resolve()),
        images=stored.images,
        pending=stored.pending,
        sync="on" if settings.sync and storage is not None else "off",
        workers=settings.workers,
    )
    if metrics is not None:
        _log.info("metrics listening on {address}", address=metrics)
    risk = body_limit_warning(settings)
    if risk is not None:
        _log.warn("{risk}", risk=risk)
    if storage is None:
        _log.warn("images are kept in memory and are lost at exit")
    elif not settings.sync:
        _log.warn("sync is off: a power cut loses acknowledged writes")
