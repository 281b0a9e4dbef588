"""SAUCE records by the published specification, and malformed ones."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.art._sauce import MAX_COLUMNS, SAUCE_SIZE, Sauce, split_sauce
from tests.art.sauces import record

TEXT = b"\x1b[1mart\x1b[0m\r\n"


def read(tail: bytes) -> Sauce:
    """Return the record at the end of a file; its text must be found to be `TEXT`."""
    length, sauce = split_sauce(TEXT + tail)
    assert sauce is not None
    assert length == len(TEXT)
    return sauce


class SauceTests(SynchronousTestCase):
    """Fields of a record."""

    def test_layout(self) -> None:
        """The fields are read from the offsets that the specification gives."""
        raw = bytearray(b" " * 90 + bytes(38))
        for offset, field in (
            (0, b"SAUCE00"),
            (7, b"A Title"),
            (42, b"An Author"),
            (62, b"A Group"),
            (82, b"20130504"),
            (90, (12345).to_bytes(4, "little")),
            (94, b"\x01\x01"),
            (96, (160).to_bytes(2, "little")),
            (98, (25).to_bytes(2, "little")),
            (104, b"\x00"),
            (105, b"\x0d"),
            (106, b"IBM VGA 850"),
        ):
            raw[offset : offset + len(field)] = field
        self.assertEqual(len(raw), SAUCE_SIZE)
        self.assertEqual(
            read(b"\x1a" + raw),
            Sauce(
                title="A Title",
                author="An Author",
                group="A Group",
                date=dt.date(2013, 5, 4),
                is_text=True,
                columns=160,
                ice_colours=True,
                letter_spacing=9,
                stretched=True,
                font="IBM VGA 850",
                comments=(),
            ),
        )

    def test_flags(self) -> None:
        """Each bit of the flags has its meaning, and invalid values have none."""
        for flags, ice, spacing, stretched in (
            (0b00000, False, None, None),
            (0b00001, True, None, None),
            (0b00010, False, 8, None),
            (0b00100, False, 9, None),
            (0b00110, False, None, None),
            (0b01000, False, None, True),
            (0b10000, False, None, False),
            (0b11000, False, None, None),
            (0b11100000, False, None, None),
        ):
            sauce = read(record(flags=flags))
            self.assertEqual(
                (sauce.ice_colours, sauce.letter_spacing, sauce.stretched),
                (ice, spacing, stretched),
            )

    def test_types(self) -> None:
        """Width and flags are read only of types of files that have them."""
        for data_type, file_type, columns, ice, is_text in (
            (1, 0, 132, True, True),
            (1, 1, 132, True, True),
            (1, 2, 132, True, True),
            (1, 3, None, False, True),  # RIP: the width is in pixels
            (1, 4, 132, False, True),
            (1, 5, 132, False, True),
            (1, 6, None, False, True),
            (1, 7, None, False, True),
            (1, 8, 132, False, True),
            (0, 0, None, False, True),
            (2, 10, None, False, False),
            (5, 80, None, False, False),
            (6, 0, None, False, False),
            (255, 255, None, False, False),
        ):
            sauce = read(
                record(
                    data_type=data_type,
                    file_type=file_type,
                    numbers=(132, 25, 0, 0),
                    flags=1,
                )
            )
            self.assertEqual(
                (sauce.columns, sauce.ice_colours, sauce.is_text),
                (columns, ice, is_text),
            )

    def test_width(self) -> None:
        """No width is given by 0, nor by one that no piece of art has."""
        for width, columns in (
            (0, None),
            (1, 1),
            (MAX_COLUMNS, MAX_COLUMNS),
            (MAX_COLUMNS + 1, None),
            (65535, None),
        ):
            sauce = read(record(numbers=(width, 0, 0, 0)))
            self.assertEqual(sauce.columns, columns)

    def test_comments(self) -> None:
        """Comments are lines of 64 characters, between the ^Z and the record."""
        comments = ("First line", "x" * 64, "", "Größe █")
        self.assertEqual(read(record(comments=comments)).comments, comments)
        most = tuple(str(line) for line in range(255))
        self.assertEqual(read(record(comments=most)).comments, most)

    def test_comments_that_are_missing(self) -> None:
        """A count of comments without their block is ignored."""
        raw = bytearray(record(title="T"))
        raw[-24] = 3
        self.assertEqual(read(bytes(raw)).comments, ())
        raw[-24] = 255
        self.assertEqual(read(bytes(raw)).comments, ())

    def test_text_fields(self) -> None:
        """Fields are CP437, end at a NUL, and lose what a terminal would obey."""
        raw = record("Größe ░▒▓", "a\x1b[2J\x07b")
        sauce = read(raw.replace(b"Gr", b"\x9bG").replace(b"b  ", b"b\0\x1b"))
        self.assertEqual(sauce.title, "¢Göße ░▒▓")
        self.assertEqual(sauce.author, "a [2J b")

    def test_dates(self) -> None:
        """A date that does not exist is none."""
        for date, day in (
            (b"19960229", dt.date(1996, 2, 29)),
            (b"19950229", None),
            (b"00000000", None),
            (b"1996022\xb2", None),
            (b"+9960229", None),
            (b"        ", None),
        ):
            self.assertEqual(read(record(date=date)).date, day)

    def test_no_record(self) -> None:
        """Other versions, shortened records and other text are no record."""
        whole = TEXT + record("T")
        for data in (
            b"",
            TEXT,
            whole[:-1],
            whole + b"\n",
            TEXT + record(version=b"01"),
            TEXT + record().replace(b"SAUCE", b"sauce"),
            b"SAUCE00",
            record()[2:],
        ):
            self.assertEqual(split_sauce(data), (len(data), None))

    def test_no_end_of_text(self) -> None:
        """A record without ^Z before it is read; so is one without a text."""
        self.assertEqual(read(record()[1:]).title, "")
        self.assertEqual(split_sauce(record())[0], 0)
        self.assertEqual(split_sauce(record()[1:])[0], 0)

    @given(
        st.binary(max_size=400),
        st.binary(min_size=SAUCE_SIZE - 7, max_size=SAUCE_SIZE - 7),
        st.booleans(),
    )
    def test_any_record(self, before: bytes, fields: bytes, comments: bool) -> None:  # noqa: FBT001 - a draw
        """Whatever a record holds, the result is bounded and printable."""
        if comments:
            before += b"COMNT" + b"\x1b" * 64 * fields[97]
        data = before + b"SAUCE00" + fields
        length, sauce = split_sauce(data)
        assert sauce is not None
        self.assertTrue(0 <= length <= len(before))
        self.assertTrue(sauce.columns is None or 1 <= sauce.columns <= MAX_COLUMNS)
        for text, longest in (
            (sauce.title, 35),
            (sauce.author, 20),
            (sauce.group, 20),
            (sauce.font, 22),
            *((line, 64) for line in sauce.comments),
        ):
            self.assertTrue(len(text) <= longest and (text.isprintable() or not text))
        self.assertLessEqual(len(sauce.comments), 255)
