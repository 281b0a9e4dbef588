"""Cells become SVG that shows the same."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from twisted.trial.unittest import SynchronousTestCase

from asciid.art.rendering import parse, to_svg

NAMESPACE = "{http://www.w3.org/2000/svg}"
RECTANGLE = re.compile(r"M(\d+) (\d+)h(\d+)v(\d+)h-(\d+)z")

ALLOWED = {
    "svg": {"role", "width", "height", "viewBox"},
    "title": set(),
    "desc": set(),
    "g": {
        *("shape-rendering", "fill", "font-family", "font-size", "direction"),
        "unicode-bidi",
    },
    "path": {"fill", "fill-opacity", "d"},
    "text": {"x", "y", "textLength", "fill", "font-weight", "font-style"},
}
"""The attributes of each element."""


def rectangles(path: str) -> list[tuple[int, int, int, int]]:
    """Return left, top, width and height of the rectangles of a path."""
    assert RECTANGLE.sub("", path) == ""
    found = []
    for match in RECTANGLE.finditer(path):
        left, top, width, height, back = map(int, match.groups())
        assert width == back
        found.append((left, top, width, height))
    return found


def check_svg(svg: str) -> ET.Element:
    """Return the root, after checks that nothing but known elements is there."""
    root = ET.fromstring(svg)  # noqa: S314 - made by the function under test
    for element in root.iter():
        tag = element.tag.removeprefix(NAMESPACE)
        assert element.tag == NAMESPACE + tag
        assert set(element.attrib) <= ALLOWED[tag], (tag, element.attrib)
        assert re.fullmatch("#[0-9a-f]{3}([0-9a-f]{3})?", element.get("fill", "#000"))
        rectangles(element.get("d", ""))
    return root


class SVGTests(SynchronousTestCase):
    """The document."""

    def paths(self, text: str) -> dict[str, list[tuple[int, int, int, int]]]:
        """Return the rectangles of each colour, without the first, the ground."""
        _, *paths = check_svg(to_svg(parse(text))).iter(f"{NAMESPACE}path")
        return {
            f"{path.get('fill')} {path.get('fill-opacity', '')}".rstrip(): rectangles(
                path.get("d", "")
            )
            for path in paths
        }

    def texts(self, text: str) -> list[tuple[str | None, dict[str, str]]]:
        """Return each text with its attributes."""
        elements = check_svg(to_svg(parse(text))).iter(f"{NAMESPACE}text")
        return [(element.text, element.attrib) for element in elements]

    def test_size(self) -> None:
        """A cell is 8 by 16 pixels."""
        root = check_svg(to_svg(parse("ab\n\x1b[3Cc")))
        self.assertEqual((root.get("width"), root.get("height")), ("32", "32"))
        self.assertEqual(root.get("viewBox"), "0 0 32 32")

    def test_grounds(self) -> None:
        """Art with colours is on black, other art on white; both have an ink."""
        for text, ground, ink in (
            ("a", "#fff", "#161616"),
            ("\x1b[31ma", "#000", "#aaa"),
        ):
            root = check_svg(to_svg(parse(text)))
            first = next(root.iter(f"{NAMESPACE}path"))
            self.assertEqual(first.attrib, {"fill": ground, "d": "M0 0h8v16h-8z"})
            *_, last = root.iter(f"{NAMESPACE}g")
            self.assertEqual(last.get("fill"), ink)

    def test_shapes(self) -> None:
        """Blocks and lines are rectangles, joined to the ones beside them."""
        self.assertEqual(
            self.paths("\x1b[31;44m\u2580\u2580\x1b[32m\u2588\x1b[0m\u2584"),
            {
                "#00a": [(0, 0, 24, 16)],
                "#a00": [(0, 0, 16, 8)],
                "#0a0": [(16, 0, 8, 16)],
                "#aaa": [(24, 8, 8, 8)],
            },
        )
        self.assertEqual(self.paths("\u2500\u2500\n"), {"#161616": [(0, 8, 16, 1)]})
        self.assertEqual(self.texts("\u2588\u2550\u2502"), [])

    def test_shades(self) -> None:
        """A shade has part of the ink, over its ground."""
        self.assertEqual(
            self.paths("\x1b[38;5;1;48;2;1;2;3m\u2592"),
            {"#010203": [(0, 0, 8, 16)], "#a00 0.5": [(0, 0, 8, 16)]},
        )

    def test_lines(self) -> None:
        """Lines under and through text are as long as the run."""
        self.assertEqual(
            self.paths("\x1b[4ma b\x1b[0;9mc"),
            {"#161616": [(0, 14, 24, 1), (24, 8, 8, 1)]},
        )

    def test_texts(self) -> None:
        """Text is cut where there are several blanks, and has its exact length."""
        self.assertEqual(
            self.texts("ab c   \x1b[1;3;92md\x1b[0m \u4e2d"),
            [
                ("ab c", {"x": "0", "y": "12", "textLength": "32"}),
                (
                    "d",
                    {
                        "x": "56",
                        "y": "12",
                        "fill": "#5f5",
                        "font-weight": "700",
                        "font-style": "italic",
                    },
                ),
                ("\u4e2d", {"x": "72", "y": "12", "textLength": "16"}),
            ],
        )

    def test_escaped(self) -> None:
        """Texts are escaped, and have no characters that XML does not allow."""
        title = "</title><script>alert(1)</script>&\0\x1b\ufffe\ud800\x9b\n"
        shown = "</title><script>alert(1)</script>&\ufffd\ufffd\ufffd\ufffd\ufffd\n"
        root = check_svg(to_svg(parse("<a>&amp;"), title=title, description=title))
        self.assertEqual(root.findtext(f"{NAMESPACE}title"), shown)
        self.assertEqual(root.findtext(f"{NAMESPACE}desc"), shown)
        self.assertEqual(root.findtext(f".//{NAMESPACE}text"), "<a>&amp;")
        self.assertNotIn("<desc>", to_svg(parse("a")))
