"""Records how a database carries statements out."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["faults_in", "recorded_plans"]

_SCAN_OF_CHUNKS = re.compile(r"using chunk_pkey on .*\n(.*)")


@contextmanager
def recorded_plans(connection: psycopg.Connection[Any]) -> Iterator[list[str]]:
    """
    Record the plan of each statement that cursors carry out.

    The planner takes an index wherever there is one that helps.
    """
    for way in ("seqscan", "bitmapscan", "sort"):
        connection.execute(f"SET enable_{way} = off")
    plans: list[str] = []
    execute = psycopg.Cursor.execute

    def explain(cursor: Any, statement: Any, *rest: Any) -> Any:  # noqa: ANN401 - as psycopg
        execute(cursor, f"EXPLAIN {statement}", *rest)
        plans.append("\n".join(str(row[0]) for row in cursor.fetchall()))
        return execute(cursor, statement, *rest)

    with mock.patch.object(psycopg.Cursor, "execute", explain):
        yield plans


def faults_in(plan: str) -> list[str]:
    """Return what takes time in proportion to everything that is stored."""
    faults = [
        node
        for node in ("Seq Scan on", "  Sort  ", "Hash Join")
        if node in plan.replace("Seq Scan on pg_class", "")
    ]
    # A scan of the whole index is an index scan, too.
    faults += [
        condition
        for condition in _SCAN_OF_CHUNKS.findall(plan)
        if "shard =" not in condition or "upload =" not in condition
    ]
    return faults
