"""
Detects truncated storage files when they are opened.

LMDB maps the file, and to touch a page behind its end ends the process by
SIGBUS.  The length alone does not show that: pages at the end that were used and
freed in one transaction were never written.  So the pages of a file that is
shorter than its header states are walked, without the map.

The format is that of LMDB 0.9 (data version 1, in mdb.c) on this machine, with
no duplicate keys, which asciid does not use.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.logger import Logger

if TYPE_CHECKING:
    from pathlib import Path

    import lmdb

__all__ = ["CutShortError", "check_length"]

_META = struct.Struct("=20xI56xQ40xQ8xQ")
"""Data version, roots of the free and of the main database, transaction."""

_HEADER = struct.Struct("=QHHHH")
"""Page number, padding, flags, ends of the node pointers and of the room."""

_NODE = struct.Struct("=HHHH")
"""A number's low and high part, flags or its highest part, size of the key."""

_NUMBER = struct.Struct("=Q")
_POINTER = struct.Struct("=H")

_DATA_VERSION = 1
_BRANCH, _LEAF = 1, 2
_ELSEWHERE, _DATABASE = 1, 2
"""Node flags: the value has pages of its own; it is the record of a database."""

_ROOT = 40
"""Where in the record of a database the number of its root page is."""

_NO_PAGE = 2**64 - 1
"""The root of an empty database."""

_log = Logger()


class CutShortError(OSError):
    """The end of the storage file is missing, and it was in use."""


class _MissingError(Exception):
    """A page is missing or invalid."""


def check_length(env: lmdb.Environment, file: Path) -> None:
    """
    Refuse the data file of `env` if pages in use are behind its end.

    One that lacks only unused pages is extended to the length in its header, so that
    it is walked only once.  No process may write meanwhile.

    Errors: `CutShortError`, `OSError`, `lmdb.Error`.
    """
    size, length = file.stat().st_size, _length(env)
    if size >= length:
        return
    descriptor = os.open(file, os.O_RDONLY)
    try:
        whole = _Walk(descriptor, env.stat()["psize"], size).is_whole()
    finally:
        os.close(descriptor)
    if not whole:
        message = (
            f"{file} was cut short or is damaged: it has {size} of {length} bytes, "
            "and some that are missing were in use; restore a backup"
        )
        raise CutShortError(message)
    os.truncate(file, length)
    _log.info(
        "extended {file} from {size} to {length} bytes: the missing pages were unused",
        file=file,
        size=size,
        length=length,
    )


def _length(env: lmdb.Environment) -> int:
    """Return how many bytes the pages that were ever used take."""
    pages = env.info()["last_pgno"] + 1
    return pages * env.stat()["psize"]


@define
class _Walk:
    """A walk over the pages in use of a file of `size` bytes."""

    descriptor: int
    page_size: int
    size: int
    _seen: int = field(init=False, default=0)

    def is_whole(self) -> bool:
        """Return whether each page in use exists and is valid."""
        metas = [_META.unpack(self._read(page, _META.size)) for page in (0, 1)]
        version, *roots, _ = max(metas, key=lambda meta: meta[-1])
        todo = list(roots)
        try:
            while version == _DATA_VERSION and todo:
                self._visit(todo.pop(), todo)
        except (_MissingError, struct.error):
            # In the second case a number leads out of its page.
            return False
        return not todo

    def _visit(self, number: int, todo: list[int]) -> None:
        """Check a page of a tree; add its children to `todo`."""
        if number == _NO_PAGE:
            return
        self._need(number, 1)
        # With more pages than there are the walk is in a cycle.
        self._need(self._seen, 1)
        self._seen += 1
        page = self._read(number, self.page_size)
        own_number, _, flags, end, _ = _HEADER.unpack_from(page)
        if own_number != number or flags not in {_BRANCH, _LEAF}:
            raise _MissingError
        for at in range(_HEADER.size, end, _POINTER.size):
            (node,) = _POINTER.unpack_from(page, at)
            low, high, kind, key_size = _NODE.unpack_from(page, node)
            value = node + _NODE.size + key_size
            if flags == _BRANCH:
                todo.append(low | high << 16 | kind << 32)
            elif kind == _DATABASE:
                todo += _NUMBER.unpack_from(page, value + _ROOT)
            elif kind == _ELSEWHERE:
                (first,) = _NUMBER.unpack_from(page, value)
                size = _HEADER.size + (low | high << 16)
                self._need(first, -(-size // self.page_size))

    def _need(self, first: int, pages: int) -> None:
        if (first + pages) * self.page_size > self.size:
            raise _MissingError

    def _read(self, page: int, length: int) -> bytes:
        return os.pread(self.descriptor, length, page * self.page_size)
