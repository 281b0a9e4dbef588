"""
Charset labels, and the decoder of each charset.

Labels are those of the WHATWG Encoding Standard (section 4.2), without "replacement"
and "x-user-defined", and those of the DOS code pages.
"""

from __future__ import annotations

import codecs
from functools import cached_property
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["CHARSETS", "Charset", "UnknownCharsetError", "charset_of"]

# Encoding Standard, section 4.2: a name, Python's codec, and the labels besides the
# name.  The codecs are those that the standard's decoders extend or equal.
_STANDARD = """
utf-8 utf_8: unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf8 x-unicode20utf8
utf-16le utf_16_le: csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16
utf-16be utf_16_be: unicodefffe
big5 big5hkscs: big5-hkscs cn-big5 csbig5 x-x-big5
euc-jp euc_jp: cseucpkdfmtjapanese x-euc-jp
euc-kr cp949: cseuckr csksc56011987 iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989
 ksc5601 ksc_5601 windows-949
gb18030 gb18030:
gbk gb18030: chinese csgb2312 csiso58gb231280 gb2312 gb_2312 gb_2312-80 iso-ir-58
 x-gbk
iso-2022-jp iso2022_jp: csiso2022jp
iso-8859-2 iso8859_2: csisolatin2 iso-ir-101 iso8859-2 iso88592 iso_8859-2
 iso_8859-2:1987 l2 latin2
iso-8859-3 iso8859_3: csisolatin3 iso-ir-109 iso8859-3 iso88593 iso_8859-3
 iso_8859-3:1988 l3 latin3
iso-8859-4 iso8859_4: csisolatin4 iso-ir-110 iso8859-4 iso88594 iso_8859-4
 iso_8859-4:1988 l4 latin4
iso-8859-5 iso8859_5: csisolatincyrillic cyrillic iso-ir-144 iso8859-5 iso88595
 iso_8859-5 iso_8859-5:1988
iso-8859-6 iso8859_6: arabic asmo-708 csiso88596e csiso88596i csisolatinarabic
 ecma-114 iso-8859-6-e iso-8859-6-i iso-ir-127 iso8859-6 iso88596 iso_8859-6
 iso_8859-6:1987
iso-8859-7 iso8859_7: csisolatingreek ecma-118 elot_928 greek greek8 iso-ir-126
 iso8859-7 iso88597 iso_8859-7 iso_8859-7:1987 sun_eu_greek
iso-8859-8 iso8859_8: csiso88598e csisolatinhebrew hebrew iso-8859-8-e iso-ir-138
 iso8859-8 iso88598 iso_8859-8 iso_8859-8:1988 visual
iso-8859-8-i iso8859_8: csiso88598i logical
iso-8859-10 iso8859_10: csisolatin6 iso-ir-157 iso8859-10 iso885910 l6 latin6
iso-8859-13 iso8859_13: iso8859-13 iso885913
iso-8859-14 iso8859_14: iso8859-14 iso885914
iso-8859-15 iso8859_15: csisolatin9 iso8859-15 iso885915 iso_8859-15 l9
iso-8859-16 iso8859_16:
koi8-r koi8_r: cskoi8r koi koi8 koi8_r
koi8-u koi8_u: koi8-ru
macintosh mac_roman: csmacintosh mac x-mac-roman
shift_jis cp932: csshiftjis ms932 ms_kanji shift-jis sjis windows-31j x-sjis
windows-874 cp874: dos-874 iso-8859-11 iso8859-11 iso885911 tis-620
windows-1250 cp1250: cp1250 x-cp1250
windows-1251 cp1251: cp1251 x-cp1251
windows-1252 cp1252: ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1
 iso-ir-100 iso8859-1 iso88591 iso_8859-1 iso_8859-1:1987 l1 latin1 us-ascii x-cp1252
windows-1253 cp1253: cp1253 x-cp1253
windows-1254 cp1254: cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599
 iso_8859-9 iso_8859-9:1989 l5 latin5 x-cp1254
windows-1255 cp1255: cp1255 x-cp1255
windows-1256 cp1256: cp1256 x-cp1256
windows-1257 cp1257: cp1257 x-cp1257
windows-1258 cp1258: cp1258 x-cp1258
x-mac-cyrillic mac_cyrillic: x-mac-ukrainian
"""

_CODE_PAGES = (
    *(437, 720, 737, 775, 850, 852, 855, 857),
    *(858, 860, 861, 862, 863, 865, 866, 869),
)

# What the display hardware of the IBM PC shows for the bytes 00 to 1F; the Unicode
# Consortium publishes it as MAPPINGS/VENDORS/MISC/IBMGRAPH.TXT.  It is the same in
# each code page.  Byte 00 is blank.
_CONTROL_PICTURES = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
_DELETE, _HOUSE = 0x7F, "⌂"
_C1_CONTROLS = range(0x80, 0xA0)
_KEPT = b"\t\n\r\x1a\x1b"

_UNDEFINED = "\ufffe"
"""The value that marks an undefined byte for :func:`codecs.charmap_decode`."""


class UnknownCharsetError(ValueError):
    """The label names no charset that can be decoded."""

    def __init__(self) -> None:
        super().__init__(
            f"unknown charset; known charsets are auto, {', '.join(sorted(CHARSETS))}"
        )


@frozen(slots=False)
class Charset:
    """A charset that can be decoded."""

    name: str
    """The name by which an image's record knows it, such as ``cp437``."""
    codec: str
    """The name of Python's codec."""
    is_code_page: bool
    """Whether it is a DOS code page, whose control bytes are glyphs."""

    def decoder(self, head: bytes) -> Callable[[bytes, bool], str]:
        """
        Return a function that decodes a text in pieces; `head` is its first bytes.

        It takes a piece and whether that is the last one, and keeps a byte order mark.
        It raises :exc:`UnicodeDecodeError`, whose `object` ends with the piece.
        """
        table = self._table
        if table is not None:
            return lambda data, _: codecs.charmap_decode(data, "strict", table)[0]
        codec = self.codec
        if codec.startswith("utf_16"):
            if head.startswith(codecs.BOM_UTF16_BE):
                codec = "utf_16_be"
            elif head.startswith(codecs.BOM_UTF16_LE):
                codec = "utf_16_le"
        return codecs.getincrementaldecoder(codec)("strict").decode

    @property
    def has_mark(self) -> bool:
        """Whether a text may begin with a byte order mark."""
        return self.codec.startswith("utf")

    @cached_property
    def _table(self) -> str | None:
        """The character of each byte; None if characters have several bytes."""
        if self.codec.startswith(("utf", "gb", "big", "euc", "iso2022", "cp9")):
            return None
        characters = [
            bytes([byte]).decode(self.codec, "replace").replace("\ufffd", _UNDEFINED)
            for byte in range(256)
        ]
        for byte in range(256):
            if not self.is_code_page:
                # As the standard's indexes of the windows charsets have it.
                if characters[byte] == _UNDEFINED and byte in _C1_CONTROLS:
                    characters[byte] = chr(byte)
            elif byte < len(_CONTROL_PICTURES) and byte not in _KEPT:
                characters[byte] = _CONTROL_PICTURES[byte]
            elif byte == _DELETE:
                characters[byte] = _HOUSE
        return "".join(characters)


def _standard() -> dict[str, Charset]:
    labels = {}
    for line in _STANDARD.replace("\n ", " ").strip().split("\n"):
        names, _, others = line.partition(":")
        name, codec = names.split()
        charset = Charset(name, codec, is_code_page=False)
        labels.update(dict.fromkeys([name, *others.split()], charset))
    return labels


def _code_pages() -> dict[str, Charset]:
    labels = {}
    for number in _CODE_PAGES:
        charset = Charset(f"cp{number}", f"cp{number}", is_code_page=True)
        for prefix in ("cp", "ibm", "ibm-", "csibm", "dos-", ""):
            labels[f"{prefix}{number}"] = charset
    labels["cspc8codepage437"] = labels["cp437"]
    labels["cspc850multilingual"] = labels["cp850"]
    return labels


_LABELS = {**_standard(), **_code_pages()}

CHARSETS: Mapping[str, Charset] = {each.name: each for each in _LABELS.values()}
"""The charsets by name."""


def charset_of(label: str) -> Charset:
    """
    Return the charset of a label; case and surrounding white space do not matter.

    Raises :exc:`UnknownCharsetError`.
    """
    try:
        return _LABELS[label.strip("\t\n\f\r ").lower()]
    except KeyError:
        raise UnknownCharsetError from None
