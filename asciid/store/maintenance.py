"""Work on a storage directory by commands that wait: verify, back up, compact."""

from asciid.store._copying import Copied, DamagedError, backup, compact
from asciid.store._lock import StorageInUseError
from asciid.store._storage_file import NoStorageError, StorageFile
from asciid.store._verification import Damaged, Verification, purge_quarantine

__all__ = [
    "Copied",
    "Damaged",
    "DamagedError",
    "NoStorageError",
    "StorageFile",
    "StorageInUseError",
    "Verification",
    "backup",
    "compact",
    "purge_quarantine",
]
