"""What processes need of a storage directory in which another one commits."""

from asciid.engines.lmdb._file_reader import LMDBReader, prepare_storage
from asciid.engines.lmdb._lock import StorageLock

__all__ = ["LMDBReader", "StorageLock", "prepare_storage"]
