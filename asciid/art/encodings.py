"""
Decodes files with art: their charset, the end of their text, their SAUCE record.

Pure functions.  `decode` takes up to about 10 ms per MiB of data, and up to 5 times its
size; where that is too long, `decode_in_steps` does the same.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

from attrs import frozen

from asciid.art._charsets import CHARSETS, UnknownCharsetError, charset_of
from asciid.art._sauce import Sauce, split_sauce

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from asciid.art._charsets import Charset

__all__ = [
    "AUTO",
    "LARGEST_CONVERTED",
    "Decoded",
    "Origin",
    "Sauce",
    "UndecodableError",
    "UnknownCharsetError",
    "check_charset",
    "check_size",
    "decode",
    "decode_in_steps",
    "is_auto",
    "is_dos_name",
    "is_utf_8",
    "name_of",
]

AUTO = "auto"
"""The label that has the charset be detected."""

LARGEST_CONVERTED = 4 * 1024 * 1024
"""Maximum bytes of data in another charset than UTF-8."""

_UTF_8 = CHARSETS["utf-8"]
_UTF_16 = CHARSETS["utf-16le"], CHARSETS["utf-16be"]
_CP437 = CHARSETS["cp437"]
_WINDOWS_1252 = CHARSETS["windows-1252"]

_DOS_NAME = re.compile(r".*\.(ans|asc|nfo|diz|ice)", re.IGNORECASE | re.DOTALL)
# Control bytes that are glyphs in CP437, and in no other text.
_GLYPHS = re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x19\x1c-\x1f\x7f]")
_END = "\x1a"
_RECORD_MARKS = f"{_END}SAUCE", f"{_END}COMNT"
_MARK_SIZE = len(_RECORD_MARKS[0]) - 1
_STEP = 32 * 1024
"""Bytes that are decoded in a step."""
_MARK = 2
"""Bytes of a byte order mark of UTF-16."""
_PADDING = "\x1a\0\t\n\r "

_SAMPLE = 64 * 1024
"""Bytes that are examined to recognize CP437."""
_ASCII = bytes(range(0x80))
_DRAWN = bytes(range(0xB0, 0xE0))
# Shades, lines, double lines and blocks, which art repeats and words do not.
_RUN = re.compile(rb"([\xb0-\xb2\xc4\xcd\xdb\xdc\xdf])\1+")
_ESCAPE = b"\x1b["
_DOS_COLUMNS = 80
_CODE_PAGE_OF_FONT = re.compile(r"IBM (?:VGA|EGA)\w* (\d{3})")
_AMIGA = "Amiga "


class UndecodableError(ValueError):
    """
    The data are not text in the charset, or their charset is unknown.

    `reason` says what is wrong, `offset` is that of the first invalid byte, from 0, or
    None if it is no byte's fault, and `hint` says what to do.  `charsets` are those
    that the data may have, the likelier first.
    """

    def __init__(
        self,
        reason: str,
        offset: int | None,
        hint: str,
        charsets: tuple[str, ...] = (),
    ) -> None:
        place = "" if offset is None else f" at offset {offset}"
        super().__init__(f"{reason}{place}; {hint}")
        self.reason = reason
        self.offset = offset
        self.hint = hint
        self.charsets = charsets


@frozen
class Origin:
    """What a text was decoded from, and how it has to be shown."""

    charset: str = _UTF_8.name
    columns: int | None = None
    """Characters of a row, where longer ones are continued in the next; from 1."""
    ice_colours: bool = False
    """Whether the attribute blink means a bright background."""

    def __str__(self) -> str:
        """
        Return the text form, such as ``cp437; columns=160; ice``.

        It is empty for plain UTF-8.
        """
        parts = [self.charset]
        if self.columns is not None:
            parts.append(f"columns={self.columns}")
        if self.ice_colours:
            parts.append("ice")
        return "" if parts == [_UTF_8.name] else "; ".join(parts)

    @classmethod
    def parse(cls, text: str) -> Origin:
        """Return the origin of its text form; unknown parts are ignored."""
        charset, *parts = (part.strip() for part in text.split(";"))
        columns = None
        for part in parts:
            name, _, value = part.partition("=")
            if name == "columns" and re.fullmatch("[1-9][0-9]{0,2}", value, re.ASCII):
                columns = int(value)
        return cls(charset or _UTF_8.name, columns, "ice" in parts)


@frozen
class Decoded:
    """A decoded file."""

    pieces: tuple[str, ...]
    """The text, without byte order mark, ^Z and record."""
    charset: str
    """The name of the charset that it had."""
    sauce: Sauce | None
    """The record that the file had."""

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)

    @property
    def _has_sequences(self) -> bool:
        """Whether there are escape sequences, even if cut between pieces."""
        before = ""
        for piece in self.pieces:
            if "\x1b[" in piece or (before == "\x1b" and piece.startswith("[")):
                return True
            before = piece[-1:]
        return False

    @property
    def origin(self) -> Origin:
        """How the text has to be shown, for the record of the image."""
        columns = None if self.sauce is None else self.sauce.columns
        is_dos = self.sauce is not None or CHARSETS[self.charset].is_code_page
        if columns is None and is_dos and self._has_sequences:
            columns = _DOS_COLUMNS
        ice_colours = self.sauce is not None and self.sauce.ice_colours
        return Origin(self.charset, columns, ice_colours)


def is_dos_name(name: str) -> bool:
    """Return whether the name of a file says that it is art in CP437."""
    return _DOS_NAME.fullmatch(name) is not None


def is_auto(label: str) -> bool:
    """Return whether the label has the charset be detected."""
    return label.strip().lower() == AUTO


def is_utf_8(label: str) -> bool:
    """
    Return whether the label is one of UTF-8.

    Raises :exc:`UnknownCharsetError`.
    """
    return not is_auto(label) and charset_of(label) is _UTF_8


def check_charset(label: str) -> None:
    """Raise :exc:`UnknownCharsetError` if `decode` does not know the label."""
    if not is_auto(label):
        charset_of(label)


def name_of(label: str) -> str:
    """Return the name of the charset of a label; raises :exc:`UnknownCharsetError`."""
    return charset_of(label).name


def check_size(size: int, label: str) -> None:
    """
    Raise :exc:`UndecodableError` if `size` bytes are too many to be converted.

    Never for UTF-8 and ``auto``.  Raises :exc:`UnknownCharsetError`.
    """
    if size > LARGEST_CONVERTED and not (is_auto(label) or is_utf_8(label)):
        limit = f"{size} bytes (limit {LARGEST_CONVERTED})"
        reason = f"too large to convert from {charset_of(label).name}: {limit}"
        raise UndecodableError(reason, None, "convert it to UTF-8 first")


def decode(data: bytes, charset: str, name: str = "") -> Decoded:
    """
    Return the text of a file.

    `charset` is a label, or ``auto``: then it is UTF-8 if `data` are valid UTF-8, else
    UTF-16 after a byte order mark, else CP437 if a SAUCE record, the extension of
    `name` (.ans .asc .nfo .diz .ice) or the bytes show that, or the code page that the
    record names.  `name` is the name of the file, if known.

    In a DOS code page, and in a file with such an extension, the text ends at the first
    ^Z; in others only at a ^Z before a record or at the end of the file.

    Raises :exc:`UndecodableError`, and :exc:`UnknownCharsetError`.
    """
    steps = decode_in_steps(data, charset, name)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            decoded: Decoded = stop.value
            return decoded


def decode_in_steps(
    data: bytes | bytearray, charset: str, name: str = ""
) -> Generator[None, None, Decoded]:
    """Do as `decode` does, in steps of up to about 0.2 ms."""
    check_size(len(data), charset)
    length, sauce = split_sauce(data)
    is_dos = is_dos_name(name)
    if is_auto(charset):
        chosen = yield from _detect(data, length, sauce, is_dos=is_dos)
    else:
        chosen = charset_of(charset)
    if chosen in _UTF_16:
        length, sauce = len(data), None
    check_size(len(data), chosen.name)
    pieces = yield from _decode(chosen, data, length)
    if chosen.is_code_page or is_dos:
        end = _first_end(pieces, 0)
    else:
        end = yield from _end_before_record(pieces)
    return Decoded(_cut(pieces, end), chosen.name, sauce)


def _decode(
    charset: Charset, data: bytes | bytearray, length: int
) -> Generator[None, None, list[str]]:
    """Return the text of the first bytes, in pieces."""
    decode_piece = charset.decoder(bytes(data[:_MARK]))
    pieces: list[str] = []
    may_have_mark = charset.has_mark
    for start, piece in _pieces_of(data, length):
        try:
            text = decode_piece(piece, start + len(piece) == length)
        except UnicodeDecodeError as error:
            # The object has bytes of the piece before, too.
            offset = start + len(piece) - len(error.object) + error.start
            reason = f"not {charset.name} text: invalid byte 0x{data[offset]:02X}"
            raise _undecodable(data, reason, offset) from error
        if may_have_mark and text:
            text = text.removeprefix("\ufeff")
            may_have_mark = False
        pieces.append(text)
        yield
    return pieces


def _pieces_of(data: bytes | bytearray, length: int) -> Iterator[tuple[int, bytes]]:
    for start in range(0, length, _STEP):
        yield start, bytes(data[start : min(start + _STEP, length)])


def _first_end(pieces: Sequence[str], start: int) -> int | None:
    """Return the offset of the first ^Z at or after `start`, or None."""
    offset = 0
    for piece in pieces:
        found = piece.find(_END, max(0, start - offset))
        if found >= 0:
            return offset + found
        offset += len(piece)
    return None


def _end_before_record(pieces: Sequence[str]) -> Generator[None, None, int | None]:
    """Return where a ^Z is that only padding, or a record even if invalid, follows."""
    if not any(_END in piece for piece in pieces):
        return None
    offset = tail = 0
    before = ""
    for piece in pieces:
        text = before + piece
        marks = [text.find(mark) for mark in _RECORD_MARKS]
        found = min((mark for mark in marks if mark >= 0), default=None)
        if found is not None:
            return offset - len(before) + found
        content = piece.rstrip(_PADDING)
        if content:
            tail = offset + len(content)
        offset += len(piece)
        before = text[-_MARK_SIZE:]
        yield
    return _first_end(pieces, tail)


def _cut(pieces: Iterable[str], end: int | None) -> tuple[str, ...]:
    if end is None:
        return tuple(pieces)
    kept = []
    for piece in pieces:
        kept.append(piece[:end])
        end -= len(kept[-1])
        if not end:
            break
    return tuple(kept)


def _detect(
    data: bytes | bytearray, length: int, sauce: Sauce | None, *, is_dos: bool
) -> Generator[None, None, Charset]:
    """Return the charset; :exc:`UndecodableError` if it cannot be told."""
    is_dos = is_dos or sauce is not None
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_ascii, has_glyphs = True, False
    offset = None
    for start, piece in _pieces_of(data, length):
        is_ascii = is_ascii and piece.isascii()
        if is_dos and is_ascii and not has_glyphs:
            has_glyphs = _GLYPHS.search(piece) is not None
        try:
            decoder.decode(piece, start + len(piece) == length)
        except UnicodeDecodeError as error:
            offset = start + len(piece) - len(error.object) + error.start
            break
        yield
    if offset is None:
        # A text in ASCII is the same in both, but for the control bytes.
        return _CP437 if is_ascii and has_glyphs else _UTF_8
    for charset, mark in zip(
        _UTF_16, (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), strict=True
    ):
        if data.startswith(mark):
            return charset
    if sauce is not None and not sauce.is_text:
        reason = "the SAUCE record says that this is not text"
        raise UndecodableError(reason, None, "only text can be stored")
    if sauce is not None:
        return _charset_of_font(sauce.font)
    if is_dos or _is_drawn(bytes(data[: min(length, _SAMPLE)])):
        return _CP437
    raise _undecodable(
        data, f"not UTF-8 text: invalid byte 0x{data[offset]:02X}", offset
    )


def _charset_of_font(font: str) -> Charset:
    """Return the charset of a font that a record names, by default CP437."""
    if font.startswith(_AMIGA):
        return _WINDOWS_1252
    if match := _CODE_PAGE_OF_FONT.fullmatch(font):
        return CHARSETS.get(f"cp{match[1]}", _CP437)
    return _CP437


def _is_mostly_drawn(sample: bytes) -> bool:
    """Return whether the bytes that are not ASCII are lines and blocks in CP437."""
    others = sample.translate(None, _ASCII)
    return 2 * len(others.translate(None, _DRAWN)) <= len(others)


def _is_drawn(sample: bytes) -> bool:
    """Return whether bytes that are not UTF-8 are art in CP437."""
    if b"\0" in sample or not _is_mostly_drawn(sample):
        return False
    repeated = sum(len(match[0]) for match in _RUN.finditer(sample))
    return _ESCAPE in sample or 3 * repeated >= len(sample.translate(None, _ASCII))


def _undecodable(data: bytes | bytearray, reason: str, offset: int) -> UndecodableError:
    sample = bytes(data[:_SAMPLE])
    if b"\0" in sample:
        return UndecodableError(
            reason, offset, "this looks like binary data, and only text can be stored"
        )
    charsets = (_CP437.name, _WINDOWS_1252.name)
    if not _is_mostly_drawn(sample):
        charsets = charsets[::-1]
    hint = f"name the charset that it has, such as {' or '.join(charsets)}"
    return UndecodableError(reason, offset, hint, charsets)
