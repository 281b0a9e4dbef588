"""
One transaction of operations on the database, in three round trips.

Everything here runs in the writer's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

from asciid.engines.postgresql._batch_loading import Loading
from asciid.engines.postgresql._batch_writing import Writing
from asciid.engines.postgresql._deciding import Decisions
from asciid.engines.postgresql._discarded_chunks import delete_discarded
from asciid.engines.postgresql._gone_records import delete_gone
from asciid.engines.postgresql._pending_checks import PendingChecks
from asciid.engines.postgresql._stored_chunks import StoredChunks
from asciid.store.operations import DeleteDiscarded, RemoveExpired
from asciid.store.stats import StoreEvents

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import psycopg

    from asciid.engines.postgresql._image_state import BatchState
    from asciid.store.operations import AnyOperation
    from asciid.store.pending import PendingUploads

__all__ = ["BatchResult", "carry_out"]


@define
class BatchResult:
    """What the operations of one transaction did, once it is committed."""

    outcomes: list[Any] = field(factory=list)
    """One for each operation: its outcome, or an `AsciidError`."""
    removed: list[str] = field(factory=list)
    """Hashes of complete images that were removed."""
    events: StoreEvents = field(factory=StoreEvents)
    """Counts of the changes."""


def carry_out(
    connection: psycopg.Connection[Any],
    operations: Sequence[AnyOperation],
    pending: PendingUploads[tuple[str, int]],
    now: Callable[[], int],
) -> BatchResult:
    """
    Carry operations out in a transaction that has begun; the caller commits it.

    It is called in pipeline mode.  `now` returns the time of the transaction in
    milliseconds (`asciid.engines.postgresql._sql_schema.NOW`), and is called once,
    after the first statements were sent: their round trip is shared with what was sent
    before.  With a clock of its own a test gives ``round(clock(ms / 1000) * 1000)``.
    The last statements may be unread when this returns.

    `pending` has the pending uploads by hash and upload number.  Call its `invalidate`
    about once a second, as other nodes begin and end uploads, and after a transaction
    that was not committed.

    Errors: `psycopg.Error`: the transaction must be rolled back.  After
    `psycopg.errors.SerializationFailure` it may run again: another node removed an
    image meanwhile.
    """
    loading = Loading(connection)
    checks = PendingChecks(connection, pending)
    checks.count(operations)
    state = loading.load(operations, now)
    checks.read(state.now)
    chunks = StoredChunks(connection)
    chunks.prefetch(operations, state.images)
    decisions = Decisions(state, chunks, loading.numbers, pending, checks.is_pending)
    outcomes = decisions.decide(operations)
    Writing(connection).write(state)
    _clean_up(connection, operations, state, outcomes)
    return BatchResult(outcomes, decisions.removed, decisions.events)


def _clean_up(
    connection: psycopg.Connection[Any],
    operations: Sequence[AnyOperation],
    state: BatchState,
    outcomes: list[Any],
) -> None:
    """Delete what no other operation needs, after the last wait for a lock."""
    left: bool | None = None
    for place, it in enumerate(operations):
        if isinstance(it, DeleteDiscarded):
            if left is None:
                found = state.has_discarded or bool(state.discarded)
                left = found and delete_discarded(connection)
            outcomes[place] = left
        elif isinstance(it, RemoveExpired) and it.kind == "gone":
            outcomes[place] = delete_gone(connection, it, state.now)
