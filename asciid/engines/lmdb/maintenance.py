"""Work on a storage directory by commands that wait: verify, copy, block."""

from asciid.engines._findings import (
    MAX_DAMAGED,
    Damaged,
    Inconsistent,
    StorageDamagedError,
)
from asciid.engines.lmdb._blocking import block, blocked, unblock
from asciid.engines.lmdb._copying import Copied, DamagedError, backup, compact
from asciid.engines.lmdb._directories import DATA_FILE
from asciid.engines.lmdb._environment import identity_of
from asciid.engines.lmdb._file_reader import prepare_storage
from asciid.engines.lmdb._file_source import FileSource
from asciid.engines.lmdb._file_target import FileTarget
from asciid.engines.lmdb._lock import LOCK_TIMEOUT, StorageLock
from asciid.engines.lmdb._record_checks import (
    RecordChecks,
    leave_records_in,
    mend_in,
)
from asciid.engines.lmdb._storage_file import NoStorageError, StorageFile
from asciid.engines.lmdb._verification import (
    Verification,
    leave_in,
    purge_quarantine,
    quarantine_in,
    restore_quarantine,
)

__all__ = [
    "DATA_FILE",
    "LOCK_TIMEOUT",
    "MAX_DAMAGED",
    "Copied",
    "Damaged",
    "DamagedError",
    "FileSource",
    "FileTarget",
    "Inconsistent",
    "NoStorageError",
    "RecordChecks",
    "StorageDamagedError",
    "StorageFile",
    "StorageLock",
    "Verification",
    "backup",
    "block",
    "blocked",
    "compact",
    "identity_of",
    "leave_in",
    "leave_records_in",
    "mend_in",
    "prepare_storage",
    "purge_quarantine",
    "quarantine_in",
    "restore_quarantine",
    "unblock",
]
