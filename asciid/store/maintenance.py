"""Work on a storage directory by commands that wait: verify, back up, compact."""

from asciid.store._copying import Copied, DamagedError, backup, compact
from asciid.store._directories import DATA_FILE
from asciid.store._environment import identity_of
from asciid.store._lock import PATIENCE, StorageInUseError, StorageLock
from asciid.store._storage_file import NoStorageError, StorageFile
from asciid.store._verification import (
    MAX_SHARE,
    Damaged,
    StorageDamagedError,
    Verification,
    leave_in,
    purge_quarantine,
    quarantine_in,
    restore_quarantine,
)

__all__ = [
    "DATA_FILE",
    "MAX_SHARE",
    "PATIENCE",
    "Copied",
    "Damaged",
    "DamagedError",
    "NoStorageError",
    "StorageDamagedError",
    "StorageFile",
    "StorageInUseError",
    "StorageLock",
    "Verification",
    "backup",
    "compact",
    "identity_of",
    "leave_in",
    "purge_quarantine",
    "quarantine_in",
    "restore_quarantine",
]
