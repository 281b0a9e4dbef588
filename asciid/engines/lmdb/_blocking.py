"""Blocks hashes in a storage file that this process owns, for commands that wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.engines.lmdb import _about_changes
from asciid.engines.lmdb._listing import list_blocked

if TYPE_CHECKING:
    from asciid.engines.lmdb._batch import Batch
    from asciid.engines.lmdb._storage_file import StorageFile
    from asciid.model import BlockedHash

__all__ = ["block", "blocked", "unblock"]


def block(storage: StorageFile, sha256: str, reason: str) -> bool:
    """
    Remove an image and refuse its hash; return whether there was one.

    Errors: `lmdb.Error`.
    """
    removed = storage.execute(lambda batch: _about_changes.block(batch, sha256, reason))
    while storage.execute(_delete_discarded):
        pass
    return removed


def unblock(storage: StorageFile, sha256: str) -> bool:
    """
    Accept a hash again; return whether it was blocked.

    Errors: `lmdb.Error`.
    """
    return storage.execute(lambda batch: _about_changes.unblock(batch, sha256))


def blocked(storage: StorageFile, after: str, limit: int) -> list[BlockedHash]:
    """
    Return at most `limit` blocked hashes above `after`, in order.

    Errors: `lmdb.Error`.
    """
    return storage.read(lambda snapshot: list_blocked(snapshot, after, limit))


def _delete_discarded(batch: Batch) -> bool:
    return batch.delete_discarded()
