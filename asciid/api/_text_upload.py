"""Receives a file in any charset, and stores it as UTF-8."""

from __future__ import annotations

import codecs
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from attrs import frozen
from twisted.internet.defer import CancelledError
from werkzeug.exceptions import ServiceUnavailable

from asciid.api._image_body import ImageBody
from asciid.api._refusals import (
    ImageTooLargeError,
    MalformedRequestError,
    NotUTF8Error,
    UndecodableTextError,
    UnsupportedCharsetError,
)
from asciid.art.encodings import (
    LARGEST_CONVERTED,
    UndecodableError,
    UnknownCharsetError,
    check_charset,
    check_size,
    decode_in_steps,
    is_auto,
    is_dos_name,
    is_utf_8,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from asciid.api._image_body import Stored
    from asciid.api._write_shares import SharedWriter
    from asciid.model import NewImage
    from asciid.net.fair_limit import FairLimit
    from asciid.runtime.offload import IOffload
    from asciid.store import IImageStore

__all__ = ["Converted", "TextUpload", "require_charset"]

_PIECE = 64 * 1024
_END_OF_TEXT = b"\x1a"
_RECORD = 128
"""Bytes of a SAUCE record."""
_ONLY_UTF_8 = f"Only UTF-8 may have more than {LARGEST_CONVERTED} bytes."
_EMPTY = "The file has no text: nothing was stored."
_NO_MEMORY = "Too many files are being converted to UTF-8; retry later."


@frozen
class Converted:
    """A file in UTF-8."""

    pieces: Sequence[bytes] = ()
    charset: str = ""
    """What it was converted from, and how it has to be shown; empty for UTF-8."""
    title: str = ""
    """The title in the file, if it has a SAUCE record; likewise the author."""
    author: str = ""


class Describe(Protocol):
    """Says what to store beside the image."""

    def __call__(self, converted: Converted, /) -> NewImage:
        """Return it; `converted` is empty if the file was not converted."""


def require_charset(label: str) -> None:
    """
    Refuse a charset that is unknown.

    Errors: `UnsupportedCharsetError`.
    """
    try:
        check_charset(label)
    except UnknownCharsetError as error:
        raise UnsupportedCharsetError(_sentence(error)) from error


class _PlainText:
    """
    Recognizes UTF-8 that needs no conversion, whatever is detected: as it arrives.

    It has neither a byte order mark nor ^Z nor a SAUCE record.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._is_plain = True
        self._is_first = True
        self._tail = b""

    def add(self, piece: bytes) -> None:
        """Examine the next piece."""
        if not self._is_plain:
            return
        marked = self._is_first and piece.startswith(codecs.BOM_UTF8[:1])
        self._is_first = False
        self._tail = (self._tail + piece[-_RECORD:])[-_RECORD:]
        try:
            self._decoder.decode(piece)
        except UnicodeDecodeError:
            self._is_plain = False
        else:
            self._is_plain = not marked and _END_OF_TEXT not in piece

    def ends_plainly(self) -> bool:
        """Return whether the whole of it is plain."""
        try:
            self._decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
        return self._is_plain and not self._tail.startswith(b"SAUCE")


class TextUpload:
    """
    A file that is being received, of at most `max_size` bytes.

    Its charset need not be known before its end: up to 4 MiB are held in memory, as far
    as `held` has room for `client`, and are converted in steps, by `offload`.  A
    larger file is passed on to `store` as it arrives, and must be UTF-8.  `shared`
    limits it to the client's share of the write queue.

    It must be ended with `close`.  If its memory is given to another client,
    `on_eviction` is called.
    """

    def __init__(  # noqa: PLR0913 - each is of the request, or of the service
        self,
        store: IImageStore,
        offload: IOffload,
        held: FairLimit,
        shared: SharedWriter,
        *,
        client: str,
        max_size: int,
    ) -> None:
        self.on_eviction: Callable[[], object] = lambda: None
        self._store = store
        self._offload = offload
        self._held = held
        self._shared = shared
        self._client = client
        self._max_size = max_size
        self._size = 0
        self._data = bytearray()
        self._plain = _PlainText()
        self._body: ImageBody | None = None
        self._lacks_memory = False
        self._complete = False
        self._closed = False
        self._stored = False

    async def pass_on(self, advice: str = "") -> ImageBody:
        """
        Pass on what was received, and all that follows: it must be UTF-8.

        `advice` is that of `NotUTF8Error`.

        Errors: those of `receive`.
        """
        body = await self._begin(advice)
        data = self._data
        for start in range(0, len(data), _PIECE):
            await self._pass(body, bytes(data[start : start + _PIECE]))
        self._release()
        return body

    async def _begin(self, advice: str = "") -> ImageBody:
        writer = await self._store.create(None)
        self._body = ImageBody(writer, self._max_size, self._shared, advice)
        return self._body

    async def receive(self, piece: bytes) -> None:
        """
        Process the next piece.

        Errors: those of `ImageBody.receive`; `ServiceUnavailable` if it is not UTF-8,
        and there is no memory to hold it.
        """
        self._size += len(piece)
        if self._size > self._max_size:
            raise ImageTooLargeError(limit=self._max_size, actual=self._size)
        body = self._body
        if body is None and self._size > LARGEST_CONVERTED:
            body = await self.pass_on(_ONLY_UTF_8)
        elif body is None and not self._held.take(self._client, self, len(piece)):
            self._lacks_memory = True
            body = await self.pass_on()
        if body is None:
            self._data += piece
            self._plain.add(piece)
        else:
            await self._pass(body, piece)

    async def finish(self, charset: str, name: str, describe: Describe) -> Stored:
        """
        Convert the file from `charset`, a label or ``auto``, and store it.

        `name` is its name, if known.

        Errors: `UndecodableTextError`, `UnsupportedCharsetError`, `NotUTF8Error`,
        `MalformedRequestError` if it is empty, `ImageTooLargeError`,
        `ServiceUnavailable`, those of `IImageWriter.finish`.
        """
        require_charset(charset)
        if not self._size:
            # It is what a shell's pipe sends when the command before it has failed.
            raise MalformedRequestError(_EMPTY)
        self._complete = True
        converted = Converted()
        body = self._body
        if body is not None:
            self._require_utf_8(charset)
        elif is_utf_8(charset) or (
            is_auto(charset) and not is_dos_name(name) and self._plain.ends_plainly()
        ):
            body = await self.pass_on()
        else:
            data, self._data = self._data, bytearray()
            steps = _convert(data, charset, name)
            converted = await self._offload.in_slices(steps, self._client)
            if not any(converted.pieces):
                raise MalformedRequestError(_EMPTY)
            body = await self._begin()
            for piece in converted.pieces:
                await self._pass(body, piece)
        with self._utf_8_expected():
            body.end()
        body.writer.describe(describe(converted))
        stored = await body.finish()
        self._stored = True
        return stored

    async def close(self) -> None:
        """Release the memory, and discard what was passed on but not stored."""
        self._closed = True
        self._release()
        if self._body is not None and not self._stored:
            await self._body.writer.abandon()

    def eviction_gain(self, _: float) -> float | None:
        """Return the bytes that were received; None if these are all."""
        return None if self._complete else float(self._size)

    def evict(self) -> None:
        """Release the memory, in favour of another client."""
        self._release()
        self.on_eviction()

    def _release(self) -> None:
        self._data = bytearray()
        self._held.give_back(self._client, self)

    async def _pass(self, body: ImageBody, data: bytes) -> None:
        if self._closed:
            raise CancelledError
        with self._utf_8_expected():
            await body.receive(data)

    def _require_utf_8(self, charset: str) -> None:
        """Refuse to convert a file that was passed on."""
        if is_auto(charset) or is_utf_8(charset):
            return
        try:
            check_size(self._size, charset)
        except UndecodableError as error:
            raise _undecodable(error) from error
        raise ServiceUnavailable(_NO_MEMORY)

    @contextmanager
    def _utf_8_expected(self) -> Iterator[None]:
        try:
            yield
        except NotUTF8Error as error:
            if self._lacks_memory:
                raise ServiceUnavailable(_NO_MEMORY) from error
            raise


def _convert(
    data: bytearray, charset: str, name: str
) -> Generator[None, None, Converted]:
    """Convert a file, in steps for `asciid.runtime.offload`."""
    try:
        decoded = yield from decode_in_steps(data, charset, name)
    except UndecodableError as error:
        raise _undecodable(error) from error
    pieces = []
    for text in decoded.pieces:
        pieces.append(text.encode("utf-8"))
        yield
    sauce = decoded.sauce
    return Converted(
        pieces,
        str(decoded.origin),
        title="" if sauce is None else sauce.title,
        author="" if sauce is None else sauce.author or sauce.group,
    )


def _undecodable(error: UndecodableError) -> UndecodableTextError:
    return UndecodableTextError(
        _sentence(error), offset=error.offset, charsets=error.charsets
    )


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
