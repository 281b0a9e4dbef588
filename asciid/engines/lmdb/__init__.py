"""The engine that keeps images in an LMDB file; for work on files, `maintenance`."""

from asciid.engines.lmdb._file_reader import LMDBReader, prepare_storage
from asciid.engines.lmdb._lmdb_engine import LMDBEngine
from asciid.engines.lmdb._lock import StorageLock
from asciid.engines.lmdb._peers import ALONE, IPeers

__all__ = [
    "ALONE",
    "IPeers",
    "LMDBEngine",
    "LMDBReader",
    "StorageLock",
    "prepare_storage",
]
