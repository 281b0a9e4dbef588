"""
Decodes files with art: their charset, the end of their text, their SAUCE record.

Pure functions.  They block for up to about 10 ms per MiB of data, and need up to 5
times its size: call them in a thread, with at most `LARGEST_CONVERTED` bytes.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

from attrs import frozen

from asciid.art._charsets import CHARSETS, UnknownCharsetError, charset_of
from asciid.art._sauce import Sauce, split_sauce

if TYPE_CHECKING:
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

    text: str
    """The text, without byte order mark, ^Z and record."""
    charset: str
    """The name of the charset that it had."""
    sauce: Sauce | None
    """The record that the file had."""

    @property
    def origin(self) -> Origin:
        """How the text has to be shown, for the record of the image."""
        columns = None if self.sauce is None else self.sauce.columns
        is_dos = self.sauce is not None or CHARSETS[self.charset].is_code_page
        if columns is None and is_dos and _ESCAPE.decode() in self.text:
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
    check_size(len(data), charset)
    length, sauce = split_sauce(data)
    content = data if sauce is None else data[:length]
    is_dos = is_dos_name(name)
    if is_auto(charset):
        chosen = _detect(content, sauce, is_dos=is_dos)
    else:
        chosen = charset_of(charset)
    if chosen in _UTF_16:
        content, sauce = data, None
    check_size(len(data), chosen.name)
    try:
        text = chosen.decode(content)
    except UnicodeDecodeError as error:
        byte = content[error.start]
        reason = f"not {chosen.name} text: invalid byte 0x{byte:02X}"
        raise _undecodable(content, reason, error.start) from error
    if chosen.is_code_page or is_dos:
        text = text.partition(_END)[0]
    else:
        text = _before_end(text)
    return Decoded(text, chosen.name, sauce)


def _before_end(text: str) -> str:
    """Cut at a ^Z that only padding or a record, even an invalid one, follows."""
    ends = [
        text.find(_END, len(text.rstrip(_PADDING))),
        text.find(f"{_END}SAUCE"),
        text.find(f"{_END}COMNT"),
    ]
    return text[: min((end for end in ends if end >= 0), default=len(text))]


def _detect(content: bytes, sauce: Sauce | None, *, is_dos: bool) -> Charset:
    """Return the charset; :exc:`UndecodableError` if it cannot be told."""
    is_dos = is_dos or sauce is not None
    try:
        codecs.utf_8_decode(content, "strict", True)  # noqa: FBT003 - positional only
    except UnicodeDecodeError as error:
        offset = error.start
    else:
        # A text in ASCII is the same in both, but for the control bytes.
        if is_dos and content.isascii() and _GLYPHS.search(content):
            return _CP437
        return _UTF_8
    for charset, mark in zip(
        _UTF_16, (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), strict=True
    ):
        if content.startswith(mark):
            return charset
    if sauce is not None and not sauce.is_text:
        reason = "the SAUCE record says that this is not text"
        raise UndecodableError(reason, None, "only text can be stored")
    if sauce is not None:
        return _charset_of_font(sauce.font)
    if is_dos or _is_drawn(content[:_SAMPLE]):
        return _CP437
    raise _undecodable(
        content, f"not UTF-8 text: invalid byte 0x{content[offset]:02X}", offset
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


def _undecodable(content: bytes, reason: str, offset: int) -> UndecodableError:
    sample = content[:_SAMPLE]
    if b"\0" in sample:
        return UndecodableError(
            reason, offset, "this looks like binary data, and only text can be stored"
        )
    charsets = (_CP437.name, _WINDOWS_1252.name)
    if not _is_mostly_drawn(sample):
        charsets = charsets[::-1]
    hint = f"name the charset that it has, such as {' or '.join(charsets)}"
    return UndecodableError(reason, offset, hint, charsets)
