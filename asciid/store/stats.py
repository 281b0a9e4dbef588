"""The statistics and the health of a store."""

from __future__ import annotations

from attrs import define, field, frozen

from asciid.runtime.histogram import Histogram

__all__ = [
    "BATCH_SIZES",
    "COMMIT_TIMES",
    "ROUND_TRIP_TIMES",
    "DatabaseStats",
    "StoreEvents",
    "StoreHealth",
    "StoreStats",
    "StoreUsage",
]

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
"""Bounds of the numbers of operations in a batch."""

COMMIT_TIMES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""Bounds of the seconds that a batch took, its sync included."""


ROUND_TRIP_TIMES = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25)
"""Bounds of the seconds that a round trip to the database took."""


@define
class DatabaseStats:
    """What happened between this node and its database since the start."""

    reconnects: int = 0
    """Connections made beside the first ones, in the place of lost ones."""
    retries: int = 0
    """Batches that ran again, of which nothing was committed."""
    unreplicated: int = 0
    """Commits that ended before the standby had them, and were waited for again."""
    settled_committed: int = 0
    """Batches with an unknown outcome that turned out to be committed."""
    settled_rerun: int = 0
    """Batches with an unknown outcome that were not committed, and ran again."""
    unresolved: int = 0
    """Batches whose outcome stayed unknown."""
    is_replicated: bool = True
    """Whether a synchronous standby was configured at the last batch."""
    is_listening: bool = True
    """Whether the removals of other nodes are received."""
    round_trips: Histogram = field(factory=lambda: Histogram(ROUND_TRIP_TIMES))


@define
class StoreEvents:
    """Counts of committed events since the start."""

    registered: int = 0
    """Images that were registered."""
    completed: int = 0
    """Images that became complete, in whatever way."""
    rejected: int = 0
    """Images that were discarded because of a wrong hash."""
    deleted: int = 0
    """Images and uploads that were deleted on request."""
    expired_images: int = 0
    expired_uploads: int = 0
    chunks: int = 0
    """Chunks that were stored."""
    unreadable: int = 0
    """Requested images that could not be read."""

    def add(self, other: StoreEvents) -> None:
        """Add the counts of `other`."""
        # Without a loop over the attributes: it is called for each batch.
        self.registered += other.registered
        self.completed += other.completed
        self.rejected += other.rejected
        self.deleted += other.deleted
        self.expired_images += other.expired_images
        self.expired_uploads += other.expired_uploads
        self.chunks += other.chunks
        self.unreadable += other.unreadable


@frozen(kw_only=True)
class StoreStats:
    """
    Statistics that a store has at any time.

    A limit of None, or of 0 if configured so, is no limit.
    """

    events: StoreEvents
    batch_sizes: Histogram
    commit_times: Histogram
    cache_hits: int = 0
    """Images that were opened without reading the disk."""
    cache_misses: int = 0
    cache_bytes: int = 0
    queue_operations: int = 0
    """Operations that wait for the next batch."""
    max_queue_operations: int | None = None
    queue_bytes: int = 0
    max_queue_bytes: int | None = None
    reads: int = 0
    """Reads under way or waiting."""
    max_reads: int | None = None
    max_uploads: int | None = None
    """Uploads that may be pending; how many are is in `StoreUsage`."""
    max_client_uploads: int | None = None
    tracked_uploads: int = 0
    """Pending uploads whose client is tracked."""
    tracked_clients: int = 0
    reserve_bytes: int | None = None
    """Bytes of the file system to leave free; None without a disk, or elsewhere."""
    database: DatabaseStats | None = None
    """None unless the engine uses a database."""


@frozen(kw_only=True)
class StoreUsage:
    """The stored images, all processes together; sizes are None without a disk."""

    images: int
    """Complete images."""
    pending: int
    """Images that are registered and miss chunks."""
    listed: int = field(default=0)
    """Complete images that are listed."""
    blocked: int = field(default=0)
    """Blocked hashes."""
    quarantined: int = field(default=0)
    """Damaged images in quarantine."""
    file_bytes: int | None = field(default=None)
    """The length of the storage file."""
    free_bytes: int | None = field(default=None)
    """Bytes that this process may still add to the file system."""


@frozen
class StoreHealth:
    """Whether a store, or its engine, can do its work."""

    open: bool
    """Whether it accepts work: it was started, and is not stopping."""
    writes: bool
    """Whether the last commit succeeded, as far as any was tried."""
    reads: bool
    """Whether the last read that was tried succeeded, and none hangs."""
    has_room: bool
    """Whether there is more room than the reserve, or enough inside the file."""
    is_replicated: bool = True
    """Whether commits wait for a standby, if the engine uses a database."""
