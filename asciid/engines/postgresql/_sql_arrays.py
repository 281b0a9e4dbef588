"""Arrays as parameters of statements, which cost less so than as lists."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import psycopg
from attrs import frozen
from psycopg.adapt import Dumper
from psycopg.pq import Format

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["ByteArray", "array_of"]

_BYTEA = 17
_BYTEA_ARRAY = 1001


def array_of(values: Iterable[object]) -> str:
    """
    Return the text form of an array, to be cast to its type in the statement.

    The values are numbers, Booleans, None, or strings that need no quotes, as hashes
    are.
    """
    # No other value has this word in its text.
    return f"{{{','.join(map(str, values))}}}".replace("None", "NULL")


@frozen
class ByteArray:
    """A parameter of type ``bytea[]``."""

    values: Sequence[bytes]


class _ByteArrayDumper(Dumper):
    """Writes the binary form of an array: not the text, which is twice as long."""

    format = Format.BINARY
    oid = _BYTEA_ARRAY

    def dump(self, obj: ByteArray) -> bytes:
        """Return the array with one dimension, which begins at 1."""
        values = obj.values
        parts = [struct.pack(">iiIii", 1, 0, _BYTEA, len(values), 1)]
        for value in values:
            parts += len(value).to_bytes(4, "big"), value
        return b"".join(parts)


psycopg.adapters.register_dumper(ByteArray, _ByteArrayDumper)
