"""docs/architecture.md names what there is."""

from __future__ import annotations

import ast
import json
import re
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from asciid.cli.main import load_command
from asciid.config.settings import SETTINGS
from tests.integration._daemon import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

_USE_OF_THREADS = {
    *("Thread", "callInThread", "callInThreadWithCallback", "call_in_pool"),
    *("deferToThread", "deferToThreadPool"),
}

WORDS = {
    *("GiB", "KiB", "MiB"),
    *("CockroachDB", "FoundationDB", "JetStream", "LevelDB", "PostgreSQL", "RocksDB"),
    *("SQLite", "TiKV", "YugabyteDB"),
}
"""Units and products that look like the names of classes."""

_FENCED = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]*)`")
_LINK = re.compile(r"\[[^]]*\]\([^)\s]*\)")

_LOOKS_LIKE_A_NAME = re.compile(
    r"\b(?:"
    r"[A-Z]\w*[a-z][A-Z]\w*|[A-Z]{2,}[a-z]\w+"  # classes
    r"|\w*[a-z]_\w+|[A-Z]+_[A-Z_]+"  # functions and constants
    r"|\w+\.(?:py|md|json|mdb|sock)|(?:asciid|tests)[./]\w[\w./]*"  # files, modules
    r")"
)

_IN_A_DIAGRAM = re.compile(r"[A-Za-z_][\w./-]*[\w/]")


def names_in(page: str) -> Iterator[str]:
    """Yield every name that a page has in backticks, or in a diagram."""
    for diagram in _FENCED.findall(page):
        for word in _IN_A_DIAGRAM.findall(diagram):
            if re.search(r"[._/]|[A-Z].*[a-z]|\w-\w", word):
                yield word
    yield from CODE.findall(_FENCED.sub("", page))


def bare_names_in(page: str) -> list[str]:
    """Return what looks like a name, and is neither in backticks nor in a diagram."""
    prose = _LINK.sub("", CODE.sub("", _FENCED.sub("", page)))
    return [word for word in _LOOKS_LIKE_A_NAME.findall(prose) if word not in WORDS]


def _targets(node: ast.AST) -> Iterator[str]:
    """Yield the names that a statement defines where it stands."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield node.name
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            for each in ast.walk(target):
                if isinstance(each, ast.Name):
                    yield each.id
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id


def _members(body: ast.ClassDef) -> set[str]:
    """Return what a class defines, the attributes of its instances included."""
    found = {name for node in body.body for name in _targets(node)}
    for node in ast.walk(body):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        ):
            found.add(node.attr)
    return found


def _last_name(expression: ast.expr) -> str:
    """Return what is called by ``name()`` or ``object.name()``."""
    if isinstance(expression, ast.Attribute):
        return expression.attr
    return expression.id if isinstance(expression, ast.Name) else ""


class _Module:
    """What one source file defines."""

    def __init__(self, path: Path) -> None:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        self.names = {name for node in tree.body for name in _targets(node)}
        self.exported = set(self.names)
        if path.name == "__init__.py":
            for node in tree.body:
                if isinstance(node, ast.ImportFrom):
                    self.exported |= {each.asname or each.name for each in node.names}
        self.classes = {
            node.name: _members(node)
            for node in tree.body
            if isinstance(node, ast.ClassDef)
        }
        self.texts: set[object] = set()
        self.thread_names: set[object] = set()
        self.uses_threads = False
        for each in ast.walk(tree):
            if isinstance(each, ast.Constant):
                self.texts.add(each.value)
            elif isinstance(each, ast.Call):
                called = _last_name(each.func)
                self.uses_threads |= called in _USE_OF_THREADS
                if called == "FixedThreadPool":
                    self.thread_names.add(ast.literal_eval(each.args[1]))

    def has(self, name: str, *members: str) -> bool:
        """Return whether `name`, or a member of the class of that name, is here."""
        if not members:
            return name in self.exported
        return len(members) == 1 and members[0] in self.classes.get(name, ())


def _paths(*folders: str) -> Iterator[tuple[str, Path]]:
    """Yield the names of modules with the paths of their sources."""
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


class Sources:
    """Finds names in the sources of the project."""

    def __init__(self) -> None:
        self._own = {name: _Module(path) for name, path in _paths("asciid")}
        # Of these the page names a few.
        self._others = dict(_paths("tests", "benchmarks"))
        self._defined: dict[str, list[_Module]] = defaultdict(list)
        self._texts: set[object] = set()
        for module in self._own.values():
            self._texts |= module.texts
            for defined in module.names:
                self._defined[defined].append(module)
        path = ROOT / "asciid" / "api" / "openapi.json"
        self._paths = json.loads(path.read_text(encoding="utf-8"))["paths"]
        self._packages = {
            path.name for path in (ROOT / "asciid").iterdir() if path.is_dir()
        }
        self._top = {path.stem for path in (ROOT / "asciid").glob("*.py")}

    def has(self, name: str) -> bool:
        """Return whether there is what `name`, of whatever kind it is, names."""
        for shape, is_there in (
            (r"--[\w-]+", self._has_option),
            (r"[A-Z]+ /\S*", self._has_request),
            (r"asciid [a-z]+", self._has_command),
            (r"[\w.-]*/[\w./-]*", self._has_path),
            (r"\w+\.(mdb|sock|lock)|[a-z0-9]+(-[a-z0-9]+)+", self._texts.__contains__),
            (r"(asciid|tests|benchmarks)(\.\w+)+", self._has_dotted),
            (r"\w+\.(py|md)", self._has_path),
            (r"[a-z]+|__main__", self._has_package),
            (r"\w+(\.\w+)?", self._has_identifier),
        ):
            if re.fullmatch(shape, name):
                return is_there(name)
        return False

    def thread_names(self) -> set[object]:
        """Return the names of all thread pools of asciid."""
        return set().union(*(module.thread_names for module in self._own.values()))

    def users_of_threads(self) -> set[str]:
        """Return the paths of the modules of asciid that have threads do work."""
        tools = {"asciid.runtime.threads", "asciid.testing"}
        return {
            name.replace(".", "/") + ".py"
            for name, module in self._own.items()
            if module.uses_threads and name not in tools
        }

    def _has_option(self, name: str) -> bool:
        return name in {f"--{setting.option}" for setting in SETTINGS}

    def _has_request(self, name: str) -> bool:
        method, _, path = name.partition(" ")
        template = path.replace("<", "{").replace(">", "}")
        return method.lower() in self._paths.get(template, ())

    def _has_command(self, name: str) -> bool:
        try:
            load_command(name.partition(" ")[2])
        except KeyError:
            return False
        return True

    def _has_path(self, name: str) -> bool:
        """Paths are relative to the checkout, or to its directory asciid."""
        return any((base / name).exists() for base in (ROOT, ROOT / "asciid"))

    def _has_dotted(self, name: str) -> bool:
        parts = name.split(".")
        for length in range(len(parts), 0, -1):
            name = ".".join(parts[:length])
            module = self._own.get(name)
            if module is None and name in self._others:
                module = _Module(self._others[name])
            if module is not None:
                return length == len(parts) or module.has(*parts[length:])
        return False

    def _has_package(self, name: str) -> bool:
        return name in self._packages or name in self._top

    def _has_identifier(self, name: str) -> bool:
        """Return whether exactly one module of asciid has that name."""
        first, *members = name.split(".")
        modules = self._defined[first]
        return len(modules) == 1 and modules[0].has(first, *members)


@cache
def read_sources() -> Sources:
    """Return the sources, read once: that takes a second."""
    return Sources()


class ArchitectureTests(SynchronousTestCase):
    """The page on the architecture."""

    def setUp(self) -> None:
        """Read the sources, unless another test has."""
        self.sources = read_sources()

    def test_names(self) -> None:
        """Each file, module, class, function, test and option that it names exists."""
        names = set(names_in(PAGE))
        self.assertGreater(len(names), 100)
        missing = sorted(name for name in names if not self.sources.has(name))
        self.assertEqual(missing, [])

    def test_backticks(self) -> None:
        """What looks like a name is in backticks, where it is looked for."""
        self.assertEqual(bare_names_in(PAGE), [])

    def test_wrong_names(self) -> None:
        """A name of any kind that does not exist, or of no known kind, is found."""
        for right, wrong in {
            "--workers": "--worker",
            "GET /image/<sha256>": "POST /image/<sha256>",
            "asciid verify": "asciid verily",
            "asciid/store/_store.py": "asciid/store/_shop.py",
            "store/": "shop/",
            "data.mdb": "date.mdb",
            "image-incomplete": "image-complete",
            "asciid.store.ImageStore": "asciid.store.ImageShop",
            "tests.test_imports.ImportTests.test_top": "tests.test_imports.test_top",
            "tap.py": "tape.py",
            "http": "https",
            "ImageStore": "ImageShop",
            "ImageStore.add_chunk": "ImageStore.add_chunks",
            "LMDBEngine.removals_known": "run",  # several modules have the latter
            "Databases.gone": "Databases.came",
            "CLIENT_SLICE": "two words",
            "errors": "",
        }.items():
            self.assertTrue(self.sources.has(right), right)
            self.assertFalse(self.sources.has(wrong), wrong)
        self.assertEqual(
            list(names_in("`a`, b\n```\nhttp/ -> Channel, one by-one\n```\n")),
            ["http/", "Channel", "by-one", "a"],
        )
        found = bare_names_in("RocksDB, [x](x.md), LMDBReader, add_chunk, tap.py, `X`")
        self.assertEqual(found, ["LMDBReader", "add_chunk", "tap.py"])

    def test_threads(self) -> None:
        """It has the name of each thread pool, and each module that uses threads."""
        _, _, after = PAGE.partition("\n## Processes and threads\n")
        section, _, _ = after.partition("\n## ")
        named = set(names_in(section))
        self.assertEqual(self.sources.thread_names() - named, set())
        paths = {name for name in named if name.endswith(".py")}
        self.assertEqual(paths, self.sources.users_of_threads())
