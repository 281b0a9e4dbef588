"""Charsets, their detection, and the end of a text."""

from __future__ import annotations

import codecs
import string
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.art import encodings
from asciid.art._charsets import CHARSETS, charset_of
from asciid.art.encodings import (
    LARGEST_CONVERTED,
    Origin,
    UndecodableError,
    UnknownCharsetError,
    check_charset,
    decode,
)
from tests.art.sauces import record

# MAPPINGS/VENDORS/MISC/IBMGRAPH.TXT of the Unicode Consortium, by its names.
PICTURES = """
01 WHITE SMILING FACE
02 BLACK SMILING FACE
03 BLACK HEART SUIT
04 BLACK DIAMOND SUIT
05 BLACK CLUB SUIT
06 BLACK SPADE SUIT
07 BULLET
08 INVERSE BULLET
09 WHITE CIRCLE
0A INVERSE WHITE CIRCLE
0B MALE SIGN
0C FEMALE SIGN
0D EIGHTH NOTE
0E BEAMED EIGHTH NOTES
0F WHITE SUN WITH RAYS
10 BLACK RIGHT-POINTING POINTER
11 BLACK LEFT-POINTING POINTER
12 UP DOWN ARROW
13 DOUBLE EXCLAMATION MARK
14 PILCROW SIGN
15 SECTION SIGN
16 BLACK RECTANGLE
17 UP DOWN ARROW WITH BASE
18 UPWARDS ARROW
19 DOWNWARDS ARROW
1A RIGHTWARDS ARROW
1B LEFTWARDS ARROW
1C RIGHT ANGLE
1D LEFT RIGHT ARROW
1E BLACK UP-POINTING TRIANGLE
1F BLACK DOWN-POINTING TRIANGLE
7F HOUSE
"""

# MAPPINGS/VENDORS/MICSFT/PC/CP437.TXT of the Unicode Consortium, from 80 on.
UPPER_HALF = (
    "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐"
    "└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0"
)

CONTROLS = b"\t\n\r\x1a\x1b"

GERMAN = "Größe, Äpfel, Öl und Übermut: daß Füße süß wären, glaubt niemand.\n" * 9
RUSSIAN = "Съешь ещё этих мягких французских булок, да выпей чаю. ПРОГРАММА\n" * 9
JAPANESE = "いろはにほへと ちりぬるを ｱｲｳｴｵ 漢字\n" * 9
CHINESE = "天地玄黄 宇宙洪荒。日月盈昃 辰宿列张。\n" * 9
KOREAN = "다람쥐 헌 쳇바퀴에 타고파\n" * 9

FRAME = "┌──────────┐\n│ framed ░▒▓█ │\n└──────────┘\n"


def text_of(label: str, data: bytes) -> str:
    """Return all of `data` as text in a charset."""
    return charset_of(label).decoder(data)(data, True)  # noqa: FBT003 - the last piece


PARTS = (
    *(b"a", b"\r\n", b"\x1a", b"\0", b" ", b"\x03", b"\x1b[31m", b"SAUCE", b"COMNT"),
    *("ö".encode(), "╔".encode(), b"\xdb\xdb\xdb", b"\xff", codecs.BOM_UTF8),
    *(codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, record(title="x")),
)
FILES = st.lists(st.sampled_from(PARTS), max_size=12).map(b"".join)


class StepsTests(SynchronousTestCase):
    """Files that are decoded in pieces."""

    @given(
        FILES | st.binary(max_size=40),
        st.sampled_from(["auto", *CHARSETS]),
        st.sampled_from(["", "x.ans"]),
        st.integers(1, 9),
    )
    def test_any_pieces(self, data: bytes, label: str, name: str, size: int) -> None:
        """The result is the same, in whatever pieces a file is decoded."""
        outcomes: list[tuple[object, ...]] = []
        for step in (1_000_000, size):
            self.patch(encodings, "_STEP", step)
            try:
                decoded = decode(data, label, name)
            except UndecodableError as error:
                outcomes.append((str(error), error.offset, error.charsets, ""))
            else:
                text, origin = decoded.text, str(decoded.origin)
                outcomes.append((text, decoded.sauce, decoded.charset, origin))
        self.assertEqual(outcomes[0], outcomes[1])


class CharsetTests(SynchronousTestCase):
    """The charsets and their labels."""

    def test_control_pictures(self) -> None:
        """Bytes 01 to 1F and 7F are the glyphs of IBM's displays, but for five."""
        for line in PICTURES.strip().splitlines():
            code, _, name = line.partition(" ")
            byte = bytes.fromhex(code)
            expected = unicodedata.lookup(name)
            if byte in CONTROLS:
                expected = byte.decode()
            self.assertEqual(text_of("cp437", byte), expected)
        self.assertEqual(text_of("cp437", b"\0"), " ")

    def test_cp437(self) -> None:
        """The other bytes are those of the published table, and of Python's codec."""
        upper = bytes(range(0x80, 0x100))
        self.assertEqual(text_of("cp437", upper), UPPER_HALF)
        self.assertEqual(upper.decode("cp437"), UPPER_HALF)
        printable = bytes(range(0x20, 0x7F))
        self.assertEqual(text_of("cp437", printable), printable.decode("ascii"))

    def test_code_pages(self) -> None:
        """Each DOS code page has the same glyphs for control bytes."""
        for charset in CHARSETS.values():
            if charset.is_code_page:
                self.assertEqual(
                    text_of(charset.name, b"\x01\x0e\x1f\x7f\x1b["), "☺♫▼⌂\x1b["
                )
        self.assertEqual(text_of("850", b"\x9b\xe0"), "øÓ")
        self.assertEqual(text_of("cp866", b"\x81"), "Б")

    def test_labels(self) -> None:
        """Labels are those of the Encoding Standard, in any case and white space."""
        for label, name in (
            ("iso-8859-1", "windows-1252"),
            ("latin1", "windows-1252"),
            ("US-ASCII", "windows-1252"),
            (" Windows-1252\n", "windows-1252"),
            ("utf8", "utf-8"),
            ("UTF-16", "utf-16le"),
            ("utf-16be", "utf-16be"),
            ("sjis", "shift_jis"),
            ("gb2312", "gbk"),
            ("koi8-r", "koi8-r"),
            ("IBM437", "cp437"),
            ("437", "cp437"),
            ("cp850", "cp850"),
            ("ibm866", "cp866"),
        ):
            self.assertEqual(charset_of(label).name, name)

    def test_unknown_labels(self) -> None:
        """Other codecs of Python are unknown; the error names the charsets."""
        for label in ("", "foo", "rot13", "zlib", "hex", "utf-7", "idna", "cp\u2164"):
            error = self.assertRaises(UnknownCharsetError, charset_of, label)
            self.assertRaises(UnknownCharsetError, check_charset, label)
            self.assertRaises(UnknownCharsetError, decode, b"x", label)
            for name in ("auto", "cp437", "utf-8", "windows-1252"):
                self.assertIn(name, str(error))
        for label in ("auto", " AUTO ", "cp437"):
            check_charset(label)

    def test_windows(self) -> None:
        """Bytes that Windows leaves undefined are C1 controls, as in the standard."""
        self.assertEqual(
            decode(b"\x80\x81\x85\x8d\x8e\x8f\x90\x95\x99\x9d\x9f", "iso-8859-1").text,
            "€\x81…\x8dŽ\x8f\x90•™\x9dŸ",
        )
        error = self.assertRaises(UndecodableError, decode, b"a\xff", "windows-874")
        self.assertEqual(error.offset, 1)

    def test_every_charset(self) -> None:
        """Each charset decodes text of its own; none is confused with another."""
        for text, labels in (
            (GERMAN, "windows-1252 iso-8859-15 macintosh cp850 cp437 utf-16le"),
            (RUSSIAN, "koi8-r windows-1251 iso-8859-5 cp866 x-mac-cyrillic utf-16be"),
            (JAPANESE, "shift_jis utf-8"),
            (JAPANESE.replace("ｱｲｳｴｵ", ""), "euc-jp iso-2022-jp"),
            (CHINESE, "gbk gb18030"),
            (KOREAN, "euc-kr"),
        ):
            for label in labels.split():
                data = text.encode(CHARSETS[label].codec)
                self.assertEqual(decode(data, label).text, text, label)
        self.assertEqual(decode("中".encode("big5"), "big5").text, "中")

    def test_utf_16(self) -> None:
        """A byte order mark decides; without one UTF-16 is little-endian."""
        text = "▀█ 🐟\n"
        for data in (
            text.encode("utf-16-le"),
            codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
            codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
        ):
            self.assertEqual(decode(data, "utf-16").text, text)
        swapped = codecs.BOM_UTF16_LE + text.encode("utf-16-le")
        self.assertEqual(decode(swapped, "utf-16be").text, text)
        for data, offset in ((b"a\0b", 2), (b"a\0\x00\xd8", 2)):
            error = self.assertRaises(UndecodableError, decode, data, "utf-16")
            self.assertEqual(error.offset, offset)


class EndTests(SynchronousTestCase):
    """Where a text ends."""

    def test_code_page(self) -> None:
        """In a code page ^Z ends the text, whatever follows it."""
        for tail in (b"\x1a", b"\x1ajunk\xff", b"\x1a" * 9 + b"x", record("T")):
            self.assertEqual(decode(b"\xdb" + tail, "cp437").text, "█")

    def test_utf_8(self) -> None:
        """In UTF-8 only a ^Z with nothing but padding or a record behind it does."""
        for tail in (
            b"\x1a",
            b"\x1a\r\n",
            b"\x1a\0\0\x1a",
            record("T"),
            record(comments=["c"]),
            record(version=b"01"),
            b"\x1aCOMNT" + b" " * 64,
        ):
            for label in ("utf-8", "auto"):
                self.assertEqual(decode("█".encode() + tail, label).text, "█")
        for text in ("a\x1ab", "a\x1a\nb", "a\n\0\n", "\x1ax\n"):
            self.assertEqual(decode(text.encode(), "auto").text, text)

    def test_dos_name(self) -> None:
        """A name of DOS art makes ^Z end the text of a UTF-8 file, too."""
        self.assertEqual(decode("█\x1ab".encode(), "auto", "X.NFO").text, "█")
        self.assertEqual(decode("█\x1ab".encode(), "auto", "x.txt").text, "█\x1ab")

    def test_many(self) -> None:
        """A file of nothing but ^Z takes no longer than another."""
        data = b"\x1a" * LARGEST_CONVERTED
        self.assertEqual(decode(data, "auto").text, "")
        self.assertEqual(len(decode(data + b"x", "auto").text), len(data) + 1)

    def test_byte_order_mark(self) -> None:
        """A byte order mark is no part of the text; later ones are."""
        self.assertEqual(decode(codecs.BOM_UTF8 + b"a", "auto").text, "a")
        self.assertEqual(decode(codecs.BOM_UTF8 + b"a", "utf-8").text, "a")
        self.assertEqual(decode(codecs.BOM_UTF8 * 2, "auto").text, "\ufeff")


class DetectionTests(SynchronousTestCase):
    """``auto``."""

    def found(self, data: bytes, name: str = "") -> str:
        """Return the charset that is detected."""
        return decode(data, "auto", name).charset

    def test_utf_8(self) -> None:
        """Valid UTF-8 is that, whatever the name and whatever the record holds."""
        data = FRAME.encode()
        for name in ("", "x.txt", "x.ans", "x.NFO"):
            self.assertEqual(self.found(data, name), "utf-8")
            decoded = decode(data + record("Größe ░"), "auto", name)
            self.assertEqual((decoded.charset, decoded.text), ("utf-8", FRAME))
            assert decoded.sauce is not None
            self.assertEqual(decoded.sauce.title, "Größe ░")

    def test_names(self) -> None:
        """The names of DOS art speak for CP437, in any case and directory."""
        data = "naïve".encode("cp437")
        for name in ("a.ans", "A.ASC", "x/y.nfo", "FILE_ID.DIZ", "a b.ice", "\n.ans"):
            self.assertEqual(self.found(data, name), "cp437")
        for name in ("", "ans", "a.txt", "a.ans.txt", "a.answer", "a.nfo/b"):
            self.assertRaises(UndecodableError, self.found, data, name)

    def test_record(self) -> None:
        """A record speaks for CP437, or for the code page of the font that it names."""
        data = "na\u00efve".encode("cp437")
        for font, charset in (
            (b"", "cp437"),
            (b"IBM VGA", "cp437"),
            (b"IBM VGA50 850", "cp850"),
            (b"IBM EGA 866", "cp866"),
            (b"IBM VGA 999", "cp437"),
            (b"Amiga Topaz 2+", "windows-1252"),
            (b"\xff" * 22, "cp437"),
        ):
            self.assertEqual(self.found(data + record(font=font)), charset)

    def test_pixels(self) -> None:
        """A record that says that the file is not text is believed."""
        data = b"\xdb\x07" * 80
        for data_type in (2, 5, 6, 8):
            error = self.assertRaises(
                UndecodableError, self.found, data + record(data_type=data_type)
            )
            self.assertIs(error.offset, None)
            self.assertIn("not text", str(error))
        self.assertEqual(self.found(data + record(data_type=0)), "cp437")

    def test_bytes(self) -> None:
        """Lines, blocks and shades speak for CP437, with colours even a few."""
        for text in (
            FRAME,
            "═══════ title ═══════\n",
            "\x1b[31m▄ ▀ ▌▐\x1b[0m",
            "░▒▓████▓▒░ möre text\n",
        ):
            self.assertEqual(decode(text.encode("cp437"), "auto").text, text)

    def test_other_text(self) -> None:
        """Text in other charsets is refused, not shown as blocks."""
        for text, codecs_of_text in (
            (GERMAN, "cp1252 mac_roman cp850"),
            (GERMAN.upper(), "cp1252"),
            ("Grüße aus Köln\x1b[0m\n", "latin-1"),
            (RUSSIAN, "koi8_r cp1251 cp866 iso8859_5"),
            (RUSSIAN.upper(), "koi8_r cp1251 cp866 iso8859_5"),
            (JAPANESE, "cp932"),
            (JAPANESE.replace("ｱｲｳｴｵ", ""), "euc_jp"),
            (CHINESE, "gb18030 big5hkscs"),
            (KOREAN, "cp949"),
        ):
            for codec in codecs_of_text.split():
                data = text.encode(codec, "ignore")
                error = self.assertRaises(UndecodableError, self.found, data)
                self.assertEqual(error.offset, _first_invalid(data))

    def test_binary(self) -> None:
        """Binary data are refused as such, and no charset is suggested."""
        png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xdb\xdb\xdb"
        error = self.assertRaises(UndecodableError, self.found, png)
        self.assertEqual((error.offset, error.charsets), (0, ()))
        self.assertIn("binary", error.hint)

    def test_utf_16(self) -> None:
        """UTF-16 is recognized by its byte order mark."""
        for mark, codec, name in (
            (codecs.BOM_UTF16_LE, "utf-16-le", "utf-16le"),
            (codecs.BOM_UTF16_BE, "utf-16-be", "utf-16be"),
        ):
            decoded = decode(mark + FRAME.encode(codec), "auto", "x.nfo")
            self.assertEqual((decoded.charset, decoded.text), (name, FRAME))

    def test_glyphs_only(self) -> None:
        """A file in ASCII with glyphs for controls is CP437 if its name says DOS."""
        data = b"\x10 \x03 \x11\r\n"
        self.assertEqual(decode(data, "auto", "file_id.diz").text, "► ♥ ◄\r\n")
        self.assertEqual(decode(data + record(), "auto").text, "► ♥ ◄\r\n")
        self.assertEqual(decode(data, "auto", "x.txt").text, data.decode())
        self.assertEqual(self.found(b"\t\x1b[1ma\r\n", "x.ans"), "utf-8")

    def test_refused(self) -> None:
        """A refusal says what is wrong, where, and what to do."""
        error = self.assertRaises(UndecodableError, self.found, "a né".encode("cp1252"))
        self.assertEqual(error.reason, "not UTF-8 text: invalid byte 0xE9")
        self.assertEqual(error.offset, 3)
        self.assertEqual(error.charsets, ("windows-1252", "cp437"))
        self.assertEqual(
            str(error),
            "not UTF-8 text: invalid byte 0xE9 at offset 3; name the charset that it "
            "has, such as windows-1252 or cp437",
        )
        error = self.assertRaises(UndecodableError, self.found, "a┌ é".encode("cp437"))
        self.assertEqual(error.charsets, ("cp437", "windows-1252"))

    def test_too_large(self) -> None:
        """Only UTF-8 may be larger than the limit for conversion."""
        data = b"\xdb" * LARGEST_CONVERTED
        self.assertEqual(len(decode(data, "auto").text), LARGEST_CONVERTED)
        for label in ("auto", "cp437"):
            error = self.assertRaises(UndecodableError, decode, data + b"\xdb", label)
            self.assertIs(error.offset, None)
            self.assertIn(f"limit {LARGEST_CONVERTED}", str(error))
        self.assertEqual(len(decode(b"x" * len(data) + b"y", "auto").text), 4194305)

    @given(
        st.binary(max_size=600),
        st.sampled_from(["auto", *CHARSETS]),
        st.sampled_from(["", "a.ans", "a.txt"]),
    )
    def test_any_bytes(self, data: bytes, label: str, name: str) -> None:
        """Any bytes in any charset are text that UTF-8 can carry, or are refused."""
        try:
            decoded = decode(data, label, name)
        except UndecodableError as error:
            self.assertTrue(error.offset is None or 0 <= error.offset < len(data))
        else:
            decoded.text.encode()
            self.assertEqual(Origin.parse(str(decoded.origin)), decoded.origin)

    @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
    def test_any_text(self, text: str) -> None:
        """Any text in UTF-8 is kept, but for the mark before it and ^Z at its end."""
        kept = decode(text.encode(), "auto").text
        if "\x1a" not in text:
            self.assertEqual(kept, text.removeprefix("\ufeff"))
        self.assertTrue(text.removeprefix("\ufeff").startswith(kept))

    @given(st.lists(st.sampled_from(string.printable[:-2] + UPPER_HALF), max_size=99))
    def test_any_art(self, characters: list[str]) -> None:
        """Any text of CP437's characters is kept by its name."""
        text = "".join(characters)
        data = text.encode("cp437")
        if not _is_utf_8(data):
            self.assertEqual(decode(data, "auto", "x.ans").text, text)
        self.assertEqual(decode(data, "cp437").text, text)


class OriginTests(SynchronousTestCase):
    """What is kept of how a text has to be shown."""

    def test_text_form(self) -> None:
        """The text form holds charset, width and iCE colours; none for plain UTF-8."""
        for origin, text in (
            (Origin(), ""),
            (Origin("cp437"), "cp437"),
            (Origin("cp437", 160, ice_colours=True), "cp437; columns=160; ice"),
            (Origin("utf-8", 80), "utf-8; columns=80"),
            (Origin("utf-8", None, ice_colours=True), "utf-8; ice"),
        ):
            self.assertEqual(str(origin), text)
            self.assertEqual(Origin.parse(text), origin)

    def test_wrong_text_forms(self) -> None:
        """Parts that are unknown or wrong are ignored."""
        for text in (
            "cp437; columns=0",
            "cp437; columns=1000",
            "cp437; columns=-1",
            "cp437; columns=٣",
            "cp437; columns",
            "cp437; colour",
        ):
            self.assertEqual(Origin.parse(text), Origin("cp437"))

    def test_of_files(self) -> None:
        """The record gives the width; DOS art with escapes has 80 columns otherwise."""
        for data, label, text in (
            (b"a", "auto", ""),
            (b"\xdb", "cp437", "cp437"),
            (b"\x1b[1m\xdb", "cp437", "cp437; columns=80"),
            (
                b"\x1b[1m\xdb" + record(numbers=(132, 0, 0, 0)),
                "auto",
                "cp437; columns=132",
            ),
            (b"\xdb" + record(flags=1), "auto", "cp437; ice"),
            (b"\x1b[1m" + record(flags=1), "auto", "utf-8; columns=80; ice"),
            (b"a" + record(flags=1), "auto", "utf-8; ice"),
            (b"\x1b[1m", "auto", ""),
            (b"\x1b[1m\xdb", "latin1", "windows-1252"),
        ):
            self.assertEqual(str(decode(data, label).origin), text)


def _first_invalid(data: bytes) -> int:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start
    return -1


def _is_utf_8(data: bytes) -> bool:
    return _first_invalid(data) < 0
