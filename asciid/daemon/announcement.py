"""Logs the start of a daemon, and warns of risky settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from asciid import __version__
from asciid.config.settings import DatabaseURL
from asciid.config.values import MEMORY
from asciid.daemon._process_limits import body_limit_warning

if TYPE_CHECKING:
    from pathlib import Path

    from asciid.config.settings import Settings
    from asciid.store import StoreUsage

__all__ = ["announce"]

_log = Logger()


def announce(
    settings: Settings,
    stored: StoreUsage | None,
    address: str,
    metrics: str | None = None,
) -> None:
    """
    Log the start at `address`, with metrics at `metrics`, if any.

    `stored` is None while the database cannot be reached.
    Warn of each setting that risks data or memory.
    """
    storage = settings.storage
    in_database = isinstance(storage, DatabaseURL)
    _log.info(
        "asciid {version} listens on {address}, storage {storage}, images {images}, "
        "pending uploads {pending}, sync {sync}, workers {workers}",
        version=__version__,
        address=address,
        storage=_storage_text(storage),
        images="unknown" if stored is None else stored.images,
        pending="unknown" if stored is None else stored.pending,
        sync="on" if in_database or (settings.sync and storage is not None) else "off",
        workers=settings.workers,
    )
    if metrics is not None:
        _log.info("metrics listening on {address}", address=metrics)
    risk = body_limit_warning(settings)
    if risk is not None:
        _log.warn("{risk}", risk=risk)
    if storage is None:
        _log.warn("images are kept in memory and are lost at exit")
    elif stored is None:
        _log.warn("the database cannot be reached: responding with 503 until it can")
    elif not (settings.sync or in_database):
        _log.warn("sync is off: a power cut loses acknowledged writes")


def _storage_text(storage: Path | DatabaseURL | None) -> str:
    if storage is None:
        return MEMORY
    return str(storage if isinstance(storage, DatabaseURL) else storage.resolve())
