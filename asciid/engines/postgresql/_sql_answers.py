"""
Answers to queries, each from one state of the database.

Everything here runs in a thread of the read pool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from asciid.store.queries import Query

__all__ = ["answer"]

AnswerT = TypeVar("AnswerT")


def answer(
    connection: psycopg.Connection[Any],
    query: Query[AnswerT],
    clock: Callable[[float], float],
) -> AnswerT:
    """
    Answer `query` on a connection in autocommit mode, outside of a transaction.

    `clock` maps the database's time, in seconds since the epoch, to the time that is
    used.

    Errors: those of the query; `StorageUnreadableError` for what is damaged, which was
    logged; `psycopg.Error`, after which a transaction may be open on a connection that
    still works: close it.
    """
    raise NotImplementedError
