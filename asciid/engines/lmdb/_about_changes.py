"""
Changes what is stored beside images, and which hashes are blocked.

Everything here runs in the writer's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.engines.lmdb._about import about_of, describe, undescribe
from asciid.engines.lmdb._lookup import find_blocked, find_seal
from asciid.engines.lmdb._records import pack_blocked, place_key
from asciid.model import AboutRecord, BlockedHash
from asciid.store.rules import check_key, check_revision

if TYPE_CHECKING:
    from asciid.engines.lmdb._batch import Batch
    from asciid.store.operations import SetAbout

__all__ = ["block", "set_about", "unblock"]


def set_about(batch: Batch, it: SetAbout) -> int:
    """See `SetAbout`."""
    upload = batch.find(it.sha256)
    digest, number = bytes.fromhex(it.sha256), upload.number
    current = about_of(batch, number)
    check_key(it.sha256, it.key_hash, current.key_hash)
    check_revision(it.sha256, it.revision, current.revision)
    revision = batch.take_number()
    seal = find_seal(batch, number)
    undescribe(batch, number, seal and seal.completed)
    record = AboutRecord(it.about, revision, current.key_hash, current.charset)
    describe(batch, digest, number, record)
    upload.listed = it.about.listed
    if seal is not None and it.about.listed:
        key = place_key(seal.completed, number)
        listed = upload.image.listed(digest)
        batch.put(batch.databases.listing, key, listed.pack())
    return revision


def block(batch: Batch, sha256: str, reason: str) -> bool:
    """See `BlockHash`."""
    digest = bytes.fromhex(sha256)
    upload = batch.find_or_none(sha256)
    if upload is not None:
        batch.discard(upload, chunks=0)
        if not upload.missing:
            batch.removed.append(sha256)
        batch.events.deleted += 1
    before = find_blocked(batch, digest)
    since = batch.now if before is None else before.since
    record = pack_blocked(BlockedHash(sha256, reason, since))
    batch.put(batch.databases.blocked, digest, record)
    return upload is not None


def unblock(batch: Batch, sha256: str) -> bool:
    """See `UnblockHash`."""
    return batch.delete(batch.databases.blocked, bytes.fromhex(sha256))
