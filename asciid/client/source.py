"""
The inputs of uploads: bytes, paths and open files.

All functions block: call them in threads.  Sources are thread-safe.
"""

from __future__ import annotations

import codecs
import io
import os
import shutil
import tempfile
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING

from attrs import frozen

from asciid.client._exceptions import NotTextError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SMALL", "Content", "Reader", "Source", "Uploadable", "Whole", "open_source"]

Uploadable = bytes | str | os.PathLike[str] | IO[bytes]
"""An image: its bytes, the path of its file, or a file open for reading."""

SMALL = 64 * 1024
"""Maximum bytes of a source that is held in memory and read without a thread."""

_PIECE = 1024 * 1024
# A byte 10xxxxxx continues a character (RFC 3629, section 3).
_FIRST_INSIDE = 0b1000_0000
_LAST_INSIDE = 0b1011_1111

_CANDIDATES = 256
"""Chunk sizes to try before an image counts as indivisible."""


@frozen
class Content:
    """The properties of a source."""

    sha256: str
    size: int
    ascii: bool
    """Whether every character is one byte, so that no chunk size splits one."""


class Source:
    """Bytes with random access, until closed."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._lock = Lock()  # several threads share the file position

    def read(self, offset: int, length: int) -> bytes:
        """
        Return up to `length` bytes from `offset` on; fewer only at the end.

        Raises :exc:`OSError`, and :exc:`ValueError` once closed.
        """
        with self._lock:
            self._file.seek(offset)
            return self._file.read(length)

    def close(self) -> None:
        """Close the file, after reads in progress."""
        with self._lock:
            self._file.close()

    def examine(self) -> Content:
        """
        Read all of it.

        Raises :exc:`NotTextError` if it is not UTF-8, and the errors of `read`.
        """
        digest = sha256()
        decoder = codecs.getincrementaldecoder("utf-8")()
        size = characters = 0
        try:
            while piece := self.read(size, _PIECE):
                digest.update(piece)
                size += len(piece)
                characters += len(decoder.decode(piece))
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            # The decoder's input ends where what was read ends.
            raise NotTextError(size - len(error.object) + error.start) from error
        return Content(digest.hexdigest(), size, ascii=characters == size)

    def splits(self, content: Content, chunk_size: int) -> bool:
        """Return whether chunks of `chunk_size` bytes split a character."""
        if content.ascii:
            return False
        return any(
            _FIRST_INSIDE <= byte[0] <= _LAST_INSIDE
            for offset in range(chunk_size, content.size, chunk_size)
            if (byte := self.read(offset, 1))
        )

    def chunk_size(self, content: Content, wanted: int) -> int | None:
        """
        Return a chunk size of `wanted` bytes or a little less that splits no character.

        None if there is none.
        """
        for size in range(wanted, max(0, wanted - _CANDIDATES), -1):
            if not self.splits(content, size):
                return size
        return None


@frozen
class Whole:
    """A whole source, as the body of a request."""

    source: Source
    size: int
    on_read: Callable[[int], None]
    """Called with the number of bytes read so far."""


class Reader(io.RawIOBase):
    """A whole source as a file; `on_read` is called after each read."""

    def __init__(self, whole: Whole, on_read: Callable[[], None]) -> None:
        self._whole = whole
        self._offset = 0
        self._on_read = on_read

    def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes; fewer at the end."""
        data = self._whole.source.read(self._offset, size)
        self._offset += len(data)
        self._whole.on_read(self._offset)
        self._on_read()
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to `offset` from the start, or from the end."""
        self._offset = offset + (self._whole.size if whence == os.SEEK_END else 0)
        return self._offset

    def tell(self) -> int:
        """Return the offset of the next byte."""
        return self._offset


def open_source(what: Uploadable) -> tuple[Source, Content | None]:
    """
    Open an input; the rest of an open file is copied.

    Small inputs are also examined, which saves another call in a thread.  Raises
    :exc:`OSError` and :exc:`NotTextError`.
    """
    if isinstance(what, bytes):
        return (
            _examined(what) if len(what) <= SMALL else (Source(io.BytesIO(what)), None)
        )
    if not isinstance(what, str | os.PathLike):
        return Source(_copied(what)), None
    file: IO[bytes] = Path(what).open("rb")  # noqa: SIM115 - the source closes it
    if not file.seekable():
        with file:
            return Source(_copied(file)), None
    if os.fstat(file.fileno()).st_size > SMALL:
        return Source(file), None
    with file:
        return _examined(file.read())


def _examined(data: bytes) -> tuple[Source, Content]:
    source = Source(io.BytesIO(data))
    return source, source.examine()


def _copied(file: IO[bytes]) -> IO[bytes]:
    """Return a temporary file with the rest of `file`."""
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the source closes it
    try:
        shutil.copyfileobj(file, copy)
    except BaseException:
        copy.close()
        raise
    return copy
