"""
Commands on a storage, with or without a running daemon.

Each function locks a storage directory if it has no owner, and sends a command to the
owner otherwise.  On a database it works beside the daemons.

Errors of all functions: `AsciidError`, `OSError`.
"""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import asdict

from asciid.admin import database
from asciid.admin._owner import on_storage
from asciid.admin._pace import Pace
from asciid.admin.moderation import PAGE, as_documents
from asciid.engines.lmdb import maintenance
from asciid.net.database_url import DatabaseURL
from asciid.store import check_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from asciid.admin._owner import Owner
    from asciid.engines.lmdb.maintenance import StorageFile

__all__ = ["back_up", "block", "blocked", "compact", "restore", "unblock", "verify"]

_PIECE = 1024 * 1024
"""Bytes per read."""


def verify(
    storage: Path | DatabaseURL,
    rate: int,
    found: Callable[[str, dict[str, Any]], object],
    *,
    quarantine: bool,
    purge: bool,
) -> dict[str, Any]:
    """
    Read every complete image, at most `rate` bytes per second; 0: unlimited.

    `found` is called with ``damaged``, and ``sha256`` and ``reason`` of each damaged
    image, which is quarantined with `quarantine`; and likewise with ``inconsistent`` of
    each image whose records do not agree, which are mended then.  With `purge` the
    quarantine is then deleted.  The result has ``images``, ``bytes`` and, with `purge`,
    ``purged``.
    """
    if isinstance(storage, DatabaseURL):
        return database.verify(storage, rate, found, quarantine=quarantine, purge=purge)

    def as_owner(opened: StorageFile) -> dict[str, Any]:
        verification = maintenance.Verification(
            opened,
            Pace(rate),
            (maintenance.quarantine_in if quarantine else maintenance.leave_in)(opened),
            max_damaged=maintenance.MAX_DAMAGED if quarantine else 1.0,
        )
        for image in verification.run():
            found("damaged", asdict(image))
        checks = maintenance.RecordChecks(
            opened,
            (maintenance.mend_in if quarantine else maintenance.leave_records_in)(
                opened
            ),
        )
        for inconsistent in checks.run():
            found("inconsistent", asdict(inconsistent))
        done = {"images": verification.images, "bytes": verification.size}
        if purge:
            done["purged"] = maintenance.purge_quarantine(opened)
        return done

    def through_owner(owner: Owner) -> dict[str, Any]:
        owner.request("verify", rate=rate, quarantine=quarantine, purge=purge)

        def report(progress: dict[str, Any]) -> None:
            for kind, image in progress.items():
                found(kind, image)

        return owner.result(report)

    return on_storage(storage, "asciid verify", as_owner, through_owner)


def restore(storage: Path | DatabaseURL) -> int:
    """Move every image out of quarantine; return their number."""
    if isinstance(storage, DatabaseURL):
        return database.restore(storage)

    def through_owner(owner: Owner) -> int:
        owner.request("verify", restore=True)
        restored: int = owner.result()["restored"]
        return restored

    as_owner = maintenance.restore_quarantine
    return on_storage(storage, "asciid verify", as_owner, through_owner)


def back_up(storage: Path, destination: Path, rate: int) -> tuple[int, int]:
    """
    Copy a storage and check the copy, at most `rate` bytes per second; 0: unlimited.

    Return the number of images and of bytes in the copy.
    """
    pace = Pace(rate)

    def as_owner(opened: StorageFile) -> tuple[int, int]:
        return maintenance.backup(opened.copy, destination, pace)

    def through_owner(owner: Owner) -> tuple[int, int]:
        return maintenance.backup(partial(_receive, owner), destination, pace)

    return on_storage(storage, "asciid backup", as_owner, through_owner)


def _receive(owner: Owner, work: Path) -> None:
    """Receive the data file from the owner into the directory `work`."""
    source, sink = socket.socketpair()
    with source, (work / maintenance.DATA_FILE).open("xb", buffering=0) as file:
        with sink:
            owner.request("backup", sink.fileno())
        while data := source.recv(_PIECE):
            file.write(data)
    owner.result()


def compact(storage: Path) -> dict[str, Any]:
    """Compact a storage; return ``images``, ``bytes_before`` and ``bytes_after``."""

    def as_owner(opened: StorageFile) -> dict[str, Any]:
        return dict(maintenance.compact(opened, Pace(0)).report)

    def through_owner(owner: Owner) -> dict[str, Any]:
        owner.request("compact")
        return owner.result()

    return on_storage(storage, "asciid compact", as_owner, through_owner)


def block(storage: Path | DatabaseURL, sha256: str, reason: str) -> bool:
    """
    Remove an image and refuse its hash; return whether there was one.

    Errors: also `ValueError` if `reason` is not one line of at most 500 bytes.
    """
    check_reason(reason)
    if isinstance(storage, DatabaseURL):
        return database.block(storage, sha256, reason)

    def as_owner(opened: StorageFile) -> bool:
        return maintenance.block(opened, sha256, reason)

    def through_owner(owner: Owner) -> bool:
        owner.request("block", sha256=sha256, reason=reason)
        removed: bool = owner.result()["removed"]
        return removed

    return on_storage(
        storage, "asciid block", as_owner, through_owner, accepts_old=False
    )


def unblock(storage: Path | DatabaseURL, sha256: str) -> bool:
    """Accept a hash again; return whether it was blocked."""
    if isinstance(storage, DatabaseURL):
        return database.unblock(storage, sha256)

    def as_owner(opened: StorageFile) -> bool:
        return maintenance.unblock(opened, sha256)

    def through_owner(owner: Owner) -> bool:
        owner.request("unblock", sha256=sha256)
        unblocked: bool = owner.result()["unblocked"]
        return unblocked

    return on_storage(
        storage, "asciid unblock", as_owner, through_owner, accepts_old=False
    )


def blocked(storage: Path | DatabaseURL) -> Iterator[dict[str, Any]]:
    """Yield ``sha256``, ``reason`` and ``since`` of each blocked hash, in order."""
    after = ""
    while page := _blocked_after(storage, after):
        yield from page
        after = page[-1]["sha256"]


def _blocked_after(storage: Path | DatabaseURL, after: str) -> list[dict[str, Any]]:
    if isinstance(storage, DatabaseURL):
        return database.blocked(storage, after)

    def as_owner(opened: StorageFile) -> list[dict[str, Any]]:
        return as_documents(maintenance.blocked(opened, after, PAGE))

    def through_owner(owner: Owner) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        owner.request("blocked", after=after)
        owner.result(lambda progress: found.extend(progress["blocked"]))
        return found

    return on_storage(
        storage, "asciid blocked", as_owner, through_owner, accepts_old=False
    )
