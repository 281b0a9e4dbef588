"""Which package of asciid imports which: one way, and without circles."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter, defaultdict
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from tests.integration._daemon import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PAGE = ROOT / "docs" / "architecture.md"


def read_table(page: str) -> dict[str, set[str]]:
    """
    Return the table of packages: what each, or each module beside them, imports.

    Types are included.  Each may import `asciid` itself, which has the version.
    """
    section = page.partition("\n## Packages\n")[2].partition("\n## ")[0]
    rows = [row.split("|")[1:-1] for row in section.splitlines() if row[:1] == "|"]
    return {
        place.strip(" `"): set(imports.replace("`", "").split())
        for place, _, imports in rows[2:]
    }


IMPORTS = read_table(PAGE.read_text(encoding="utf-8"))

PROGRAMS = {"asciid.admin.reader"}
"""Modules that are run, and not imported."""

TOP = {"__init__", "__main__", "errors", "health", "model", "tap", "testing"}
"""The modules that stand beside the packages: what a reader must see first."""


def _name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {_name_of(path): path for path in (ROOT / "asciid").rglob("*.py")}


def imported_by(name: str) -> Iterator[str]:
    """Yield the modules and packages of asciid that a module imports."""
    path = SOURCES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in SOURCES)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) + 1 - node.level]
                base = ".".join([*above, *filter(None, [base])])
            for each in node.names:
                inner = f"{base}.{each.name}"
                if inner in SOURCES:
                    yield inner
                elif base in SOURCES:
                    yield base


def place_of(module: str) -> str:
    """Return the package below `asciid`, or the module beside the packages."""
    return module.split(".")[1] if "." in module else ""


GRAPH = {name: set(imported_by(name)) - {name} for name in SOURCES}


def circle_in(graph: Mapping[str, set[str]]) -> list[str]:
    """Return the modules of one circle of imports, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return []


class ImportTests(SynchronousTestCase):
    """The rules of docs/architecture.md about imports."""

    def test_table(self) -> None:
        """A package imports exactly what the table says."""
        found: dict[str, set[str]] = defaultdict(set)
        for module, imports in GRAPH.items():
            here = place_of(module)
            found[here] |= {place_of(each) for each in imports} - {here, ""}
        self.assertEqual(found.pop(""), set())
        for place in found.keys() | IMPORTS:
            self.assertEqual(found.get(place), IMPORTS.get(place), place)

    def test_one_way(self) -> None:
        """A package imports only what stands below it in the table."""
        places = list(IMPORTS)
        for above, imports in IMPORTS.items():
            for below in imports:
                self.assertLess(places.index(above), places.index(below), above)

    def test_no_circles(self) -> None:
        """Modules import each other in no circle, not even for their types."""
        self.assertEqual(circle_in(GRAPH), [])

    def test_private_modules(self) -> None:
        """A module with an underscore is imported within its package alone."""
        for module, imports in GRAPH.items():
            for each in imports:
                private = any(part.startswith("_") for part in each.split(".")[1:])
                if private and place_of(each) != place_of(module):
                    self.fail(f"{module} imports {each}")

    def test_public_modules(self) -> None:
        """A module without an underscore is for other packages, or a program."""
        imported = {
            each
            for module, imports in GRAPH.items()
            for each in imports
            if place_of(each) != place_of(module)
        }
        for module, path in SOURCES.items():
            if path.stem.startswith("_") or path.parent == ROOT / "asciid":
                continue
            if place_of(module) != "cli" and module not in PROGRAMS:
                self.assertIn(module, imported)

    def test_loaded(self) -> None:
        """A process loads no packages that it does not use."""
        for module, unused in (
            ("asciid.art.encodings", {"asciid.art.rendering", "wcwidth"}),
            ("asciid.daemon.assembly", {"asciid.art.rendering", "wcwidth"}),
            (
                "asciid.workers.parent",
                {
                    *("asciid.api", "asciid.http", "klein"),
                    *("asciid.admin", "asciid.metrics", "prometheus_client"),
                    *("asciid.engines.memory", "asciid.engines.remote", "tomllib"),
                    "asciid.engines.lmdb.owning",
                },
            ),
            (
                "asciid.workers._worker",
                {
                    *("asciid.admin", "asciid.engines.memory", "tomllib"),
                    *("asciid.engines.lmdb.owning", "asciid.workers._writer"),
                    "asciid.engines.remote.writer_side",
                },
            ),
            (
                "asciid.workers._writer",
                {
                    *("asciid.api", "asciid.http", "klein", "tomllib"),
                    *("asciid.engines.memory", "asciid.engines.remote.worker_side"),
                    "twisted.internet.endpoints",
                },
            ),
            # `leave_out_openssl` is called after these imports.
            (
                "asciid.tap, asciid.workers.__main__",
                {
                    *("asciid.api", "asciid.http", "klein"),
                    *("OpenSSL", "twisted.internet.endpoints", "twisted.internet.tcp"),
                },
            ),
        ):
            program = f"import sys, {module}; print(*{unused} & sys.modules.keys())"
            loaded = subprocess.run(
                [sys.executable, "-c", program],
                cwd=ROOT,
                capture_output=True,
                check=True,
                text=True,
            )
            self.assertEqual(loaded.stdout, "\n", module)

    def test_described(self) -> None:
        """A package that exports nothing itself lists its modules for others."""
        for initial in (ROOT / "asciid").glob("*/__init__.py"):
            text = initial.read_text(encoding="utf-8")
            if "__all__" in text or initial.parent.name in {
                "cli",
                "engines",
                "workers",
            }:
                continue
            listed = set(re.findall(r"^``([a-z_]+)``", text, re.MULTILINE))
            public = {path.stem for path in initial.parent.glob("[a-z]*.py")}
            self.assertLessEqual(public, listed, initial.parent.name)

    def test_names(self) -> None:
        """No two modules have the same name, underscores apart."""
        names = Counter(
            path.stem.removeprefix("_")
            for path in SOURCES.values()
            if path.stem not in {"__init__", "__main__"}
        )
        self.assertEqual([name for name, count in names.items() if count > 1], [])

    def test_top(self) -> None:
        """Beside the packages stands only what a reader must see first."""
        names = {path.stem for path in (ROOT / "asciid").glob("*.py")}
        self.assertEqual(names, TOP)

    def test_circle(self) -> None:
        """A circle is found, and the modules in it are named."""
        graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}}
        self.assertEqual(set(circle_in(graph)), {"b", "c"})
