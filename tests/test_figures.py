"""The tables of the documents have the figures of benchmarks/results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests._benchmarks import load


class PagesTests(SynchronousTestCase):
    """The documents as they are."""

    def test_up_to_date(self) -> None:
        """Each table is what ``benchmarks/figures`` makes of the committed results."""
        figures = load("figures")
        for path in figures.PAGES:
            page = path.read_text(encoding="utf-8")
            self.assertEqual(figures.updated(page), page, path.name)

    def test_every_table(self) -> None:
        """Each table is on one page, and its mark is closed."""
        figures = load("figures")
        pages = "".join(path.read_text(encoding="utf-8") for path in figures.PAGES)
        named = re.findall(r"<!-- figures: ([\w-]+) -->", pages)
        self.assertEqual(sorted(named), sorted(figures.TABLES))
        self.assertEqual(pages.count("<!-- end of figures -->"), len(named))


class TablesTests(SynchronousTestCase):
    """Tables of made-up results."""

    def setUp(self) -> None:
        """Import, and have results read from a directory that is empty at first."""
        self.figures = load("figures")
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.patch(self.figures, "RESULTS", self.directory)

    def store(self, name: str, results: Any) -> None:  # noqa: ANN401 - the benchmarks'
        """Write a file of results."""
        path = self.directory / f"{name}.json"
        path.write_text(json.dumps(results), encoding="utf-8")

    def table(self, name: str) -> list[str]:
        """Return the lines of a table, as a page has it."""
        page = f"a\n<!-- figures: {name} -->\nold\n<!-- end of figures -->\nb\n"
        first, mark, *lines, end, last, _ = self.figures.updated(page).split("\n")
        self.assertEqual((first, end, last), ("a", "<!-- end of figures -->", "b"))
        self.assertEqual(mark, f"<!-- figures: {name} -->")
        return [" ".join(line.split()) for line in lines]

    def test_peers(self) -> None:
        """What was not measured has an empty cell; quotients are those of asciid."""
        common = {"workload": "exercise", "connections": 64}
        ours = {"cpu_us_per_request": 50.4, "requests_per_second": 14_949}
        durable = {"cpu_us_per_request": 42.0, "requests_per_second": 9_966}
        self.store(
            "full",
            {
                "medians": [
                    {"server": "ours", **common, **ours, "disk_bytes_per_image": 7_640},
                    {"server": "go-durable", **common, **durable},
                ]
            },
        )
        title = load("catalog").TITLES["go-durable"]
        _, _, *rows = self.table("exercise")
        self.assertEqual(rows[0], "| asciid | 50 | | 14,900 | | 7.6 | power loss |")
        self.assertEqual(
            rows[1], f"| {title} | 42 | 1.20 | 10,000 | 1.50 | | power loss |"
        )
        self.assertTrue(rows[2].endswith("| | | | | | nothing |"))

    def test_before_and_now(self) -> None:
        """Instructions have a column for each commit and each way to count them."""
        kinds = dict.fromkeys(load("kinds").KINDS, 1_000.0)
        counted = {
            "this checkout": {"exercise": 123_456, **kinds},
            "5b50c24": {"exercise": 250_000, **kinds},
        }
        self.store("instructions", {"daemon": counted})
        _, _, row, *_ = self.table("instructions")
        self.assertEqual(row, "| exercise | 250.0 | 123.5 | | |")

    def test_parts(self) -> None:
        """What is small in every column is left out; the largest is first."""
        before = {
            "libraries": {"libc": 600, "python": 9_000, "tiny": 1},
            "functions": {"asciid/http/a.py f": [1, 10], "klein/b.py g": [1, 4]},
        }
        kinds = {"exercise": before, "hot GET": {**before, "libraries": {"libc": 499}}}
        self.store("profile-before", {"kinds": kinds})
        _, _, *rows = self.table("libraries")
        self.assertEqual(
            rows, ["| python | 9,000 | | 0 | |", "| libc | 600 | | 499 | |"]
        )
        _, _, *rows = self.table("packages")
        self.assertEqual(rows, ["| asciid/http | 10 | | 10 | |"])

    def test_unknown(self) -> None:
        """A mark that names no table is an error."""
        with self.assertRaises(KeyError):
            self.table("other")
