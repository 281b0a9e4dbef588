"""Damage to storage files, as disks and mistakes do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lmdb

from asciid.engines.lmdb._records import SEAL_ID, ImageRecord, chunk_key

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["delete", "flip", "number_of", "put", "records", "unseal"]


def flip(path: Path, content: bytes) -> None:
    """Flip a bit wherever the data file has `content`, old copies included."""
    file = path / "data.mdb"
    data = bytearray(file.read_bytes())
    if content not in data:
        message = "the file does not have it"
        raise AssertionError(message)
    while content in data:
        data[data.index(content) + len(content) // 2] ^= 0x10
    # In place: processes that map the file see it, as with a failing disk.
    with file.open("r+b") as opened:
        opened.write(data)


def records(path: Path, database: str) -> dict[bytes, bytes]:
    """Return everything in a database."""
    with _open(path) as env:
        handle = env.open_db(database.encode())
        with env.begin(db=handle) as transaction:
            return {bytes(key): bytes(value) for key, value in transaction.cursor()}


def put(path: Path, database: str, key: bytes, value: bytes) -> None:
    """Write one record."""
    with _open(path) as env:
        handle = env.open_db(database.encode())
        with env.begin(write=True, db=handle) as transaction:
            transaction.put(key, value)


def delete(path: Path, database: str, key: bytes) -> None:
    """Delete one record, which must be there."""
    with _open(path) as env:
        handle = env.open_db(database.encode())
        with env.begin(write=True, db=handle) as transaction:
            if not transaction.delete(key):
                raise KeyError(key)


def number_of(path: Path, sha256: str) -> int:
    """Return the upload number of an image."""
    return ImageRecord.unpack(records(path, "images")[bytes.fromhex(sha256)]).number


def unseal(path: Path, sha256: str) -> None:
    """Take the seal of a complete image away."""
    delete(path, "chunks", chunk_key(number_of(path, sha256), SEAL_ID))


def _open(path: Path) -> lmdb.Environment:
    return lmdb.open(str(path), max_dbs=16, map_size=2**26)
