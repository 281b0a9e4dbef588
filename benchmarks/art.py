"""Measures what it costs to render a screen of art, and how large the result is."""

from __future__ import annotations

import argparse
import json
import random
import time
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from machine import describe_machine

from asciid.art.rendering import parse, to_html, to_svg, to_terminal

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).parent / "results"
COLUMNS, ROWS = 80, 25
_BLOCKS = "░▒▓█▀▄▌▐"


def screen(runs: int) -> str:
    """Return a screen of 80 x 25 cells with about so many runs, most of them blocks."""
    source = random.Random(1)
    cells = COLUMNS * ROWS
    starts = {0, *source.sample(range(1, cells), runs - 1)}
    parts = []
    for place in range(cells):
        if place and place % COLUMNS == 0:
            parts.append("\x1b[0m\n")
        if place in starts or place % COLUMNS == 0:
            ink, ground = source.randrange(16), source.randrange(8)
            bold = "1;" if ink > 7 else ""
            parts.append(f"\x1b[0;{bold}{30 + ink % 8};{40 + ground}m")
            character = source.choice(_BLOCKS + "abcd    ")
        parts.append(character)
    return "".join(parts)


def ways(text: str) -> dict[str, Callable[[], str]]:
    """Return what is measured, by its name; others than ours if they are installed."""
    grid = parse(text)
    found: dict[str, Callable[[], str]] = {
        "parse": lambda: str(parse(text).width),
        "HTML of cells": lambda: to_html(grid),
        "SVG of cells": lambda: to_svg(grid),
        "text for a terminal, of cells": lambda: to_terminal(grid),
        "text to HTML": lambda: to_html(parse(text)),
    }
    if find_spec("pyte"):
        import pyte  # noqa: PLC0415 - only where it is installed

        def emulate() -> str:
            emulated = pyte.Screen(COLUMNS, ROWS)
            pyte.Stream(emulated).feed(text.replace("\n", "\r\n"))
            return str(emulated.columns)

        found["pyte: parse"] = emulate
    if find_spec("ansi2html"):
        from ansi2html import Ansi2HTMLConverter  # noqa: PLC0415 - likewise

        found["ansi2html: text to HTML"] = lambda: Ansi2HTMLConverter().convert(
            text, full=False
        )
    if find_spec("rich"):
        from rich.console import Console  # noqa: PLC0415 - likewise
        from rich.text import Text  # noqa: PLC0415 - likewise

        def export() -> str:
            console = Console(
                record=True,
                width=COLUMNS,
                file=StringIO(),
                force_terminal=True,
                color_system="truecolor",
            )
            console.print(Text.from_ansi(text))
            return console.export_svg()

        found["rich: text to SVG"] = export
    return found


def measure(text: str, repeat: int) -> dict[str, dict[str, float]]:
    """Return the least time of each way, and the size of its result if it has one."""
    found = {}
    for name, act in ways(text).items():
        times = []
        for _ in range(repeat):
            start = time.perf_counter()
            result = act()
            times.append(time.perf_counter() - start)
        found[name] = {"ms": min(times) * 1e3}
        if not result.isdigit():
            found[name]["bytes"] = len(result.encode())
    return found


def main() -> None:
    """Measure, print a table, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, prog="benchmarks/art")
    parser.add_argument("--runs", type=int, default=500, help="runs of equal style")
    parser.add_argument("--repeat", type=int, default=200, help="how often")
    parser.add_argument("--output", type=Path, default=RESULTS / "art.json")
    options = parser.parse_args()
    text = screen(options.runs)
    found = measure(text, options.repeat)
    print(f"{COLUMNS} x {ROWS} cells, {options.runs} runs, {len(text.encode())} bytes")
    for name, way in found.items():
        size = f"{way['bytes']:>8} bytes" if "bytes" in way else ""
        print(f"{name:32} {way['ms']:8.2f} ms {size}")
    results = {
        "machine": describe_machine(),
        "runs": options.runs,
        "repeat": options.repeat,
        "ways": found,
    }
    options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
