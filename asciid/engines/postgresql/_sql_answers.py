"""
Answers to queries, each from one state of the database.

Everything here runs in a thread of the read pool.  Most answers take one statement, and
so one round trip.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from attrs import define

from asciid.engines._callbacks import do_nothing
from asciid.engines.postgresql._chunk_reads import hash_with, read_ranges
from asciid.engines.postgresql._database_usage import measure_usage
from asciid.engines.postgresql._expired_pages import find_expired
from asciid.engines.postgresql._hash_lookups import LOOKUPS
from asciid.engines.postgresql._listed_images import (
    find_prefix,
    list_blocked,
    list_images,
    pick_random,
)
from asciid.engines.postgresql._upload_status import read_status
from asciid.errors import AsciidError
from asciid.runtime.frames import forget_tracebacks
from asciid.store.queries import (
    FindExpired,
    FindPrefix,
    HashWith,
    ListBlocked,
    ListImages,
    MeasureUsage,
    PickRandom,
    ReadBriefStatus,
    ReadRanges,
    ReadStatus,
    Several,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from asciid.store.queries import Query

__all__ = ["answer"]

AnswerT = TypeVar("AnswerT")

MAX_LOOKUPS = 256
"""Images that one statement finds: their content has 16 MiB at most."""

_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


def answer(
    connection: psycopg.Connection[Any],
    query: Query[AnswerT],
    clock: Callable[[float], float],
    progress: Callable[[], object] = do_nothing,
) -> AnswerT:
    """
    Answer `query` on a connection in autocommit mode, outside of a transaction.

    `clock` maps the database's time, in seconds since the epoch, to the time that is
    used.  `progress` is called again and again while a large image is hashed.

    Errors: those of the query; `StorageUnreadableError` for what is damaged, which was
    logged; `psycopg.Error`.
    """
    if isinstance(query, Several):
        outcome: Any = _from_one_state(connection, query, clock)
    elif isinstance(query, HashWith):
        outcome = hash_with(connection, query, progress)
    else:
        outcome = _answer(connection, query, clock)
    found: AnswerT = outcome
    return found


@define
class _Lookups:
    """Queries of one kind of `LOOKUPS`."""

    kind: type[Query[Any]]
    places: list[int]
    """Those of the queries in the `Several`."""
    queries: list[Query[Any]]

    def send(self, connection: psycopg.Connection[Any]) -> psycopg.Cursor[Any]:
        """Send the statement; in a pipeline it is not carried out yet."""
        lookup = LOOKUPS[self.kind]
        cursor = connection.cursor(binary=True)
        return cursor.execute(lookup.statement, lookup.parameters(self.queries))

    def receive(self, cursor: psycopg.Cursor[Any]) -> Iterator[tuple[int, Any]]:
        """Yield each place, and the answer or the domain error."""
        make_answer = LOOKUPS[self.kind].answer
        with cursor:
            for number, *row in cursor.fetchall():
                index = number - 1
                try:
                    outcome = make_answer(self.queries[index], row)
                except AsciidError as error:
                    forget_tracebacks(error)
                    outcome = error
                yield self.places[index], outcome


def _answer(
    connection: psycopg.Connection[Any],
    query: Query[Any],
    clock: Callable[[float], float],
) -> Any:  # noqa: ANN401 - the query's
    kind = type(query)
    if kind not in LOOKUPS:
        return _BY_TYPE[kind](connection, query, clock)
    lookups = _Lookups(kind, [0], [query])
    ((_, outcome),) = lookups.receive(lookups.send(connection))
    if isinstance(outcome, AsciidError):
        raise outcome
    return outcome


def _from_one_state(
    connection: psycopg.Connection[Any],
    several: Several,
    clock: Callable[[float], float],
) -> list[Any]:
    """Answer all; in one round trip, if all are of `LOOKUPS`."""
    queries = several.queries
    outcomes: list[Any] = [None] * len(queries)
    groups = list(_grouped(queries))
    others = [i for i, query in enumerate(queries) if type(query) not in LOOKUPS]
    if not queries:
        # A probe: whether the database answers.
        connection.execute("SELECT FROM asciid.schema_version")
        return []
    if not others and len(groups) <= 1:
        # One statement sees one state.
        for group in groups:
            _fill(outcomes, group.receive(group.send(connection)))
        return outcomes
    try:
        with connection.pipeline():
            connection.execute(_BEGIN)
            cursors = [group.send(connection) for group in groups]
            for i in others:
                outcomes[i] = _outcome(connection, queries[i], clock)
            connection.execute("COMMIT")
            for group, cursor in zip(groups, cursors, strict=True):
                _fill(outcomes, group.receive(cursor))
    except psycopg.Error:
        with suppress(psycopg.Error):
            connection.rollback()
        raise
    return outcomes


def _fill(outcomes: list[Any], found: Iterable[tuple[int, Any]]) -> None:
    for place, outcome in found:
        outcomes[place] = outcome


def _grouped(queries: Sequence[Query[Any]]) -> Iterator[_Lookups]:
    """Yield the lookups among `queries`, up to `MAX_LOOKUPS` of a kind together."""
    open_groups: dict[type[Query[Any]], _Lookups] = {}
    for place, query in enumerate(queries):
        kind = type(query)
        if kind not in LOOKUPS:
            continue
        group = open_groups.setdefault(kind, _Lookups(kind, [], []))
        group.places.append(place)
        group.queries.append(query)
        if len(group.places) == MAX_LOOKUPS:
            yield open_groups.pop(kind)
    yield from open_groups.values()


def _outcome(
    connection: psycopg.Connection[Any],
    query: Query[Any],
    clock: Callable[[float], float],
) -> Any:  # noqa: ANN401 - the query's
    try:
        return _answer(connection, query, clock)
    except AsciidError as error:
        forget_tracebacks(error)
        return error


def _each(
    connection: psycopg.Connection[Any],
    several: Several,
    clock: Callable[[float], float],
) -> list[Any]:
    """Answer those of a `Several` within another one."""
    return [_outcome(connection, query, clock) for query in several.queries]


_BY_TYPE: Mapping[type[Query[Any]], Callable[..., Any]] = {
    FindExpired: find_expired,
    FindPrefix: lambda connection, query, _: find_prefix(connection, query),
    HashWith: lambda connection, query, _: hash_with(connection, query),
    ListBlocked: lambda connection, query, _: list_blocked(connection, query),
    ListImages: lambda connection, query, _: list_images(connection, query),
    MeasureUsage: lambda connection, *_: measure_usage(connection),
    PickRandom: lambda connection, query, _: pick_random(connection, query),
    ReadRanges: lambda connection, query, _: read_ranges(connection, query),
    ReadBriefStatus: lambda connection, query, _: read_status(connection, query),
    ReadStatus: lambda connection, query, _: read_status(connection, query),
    Several: _each,
}
