"""Each engine is in every suite."""

from __future__ import annotations

import re
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SynchronousTestCase

from asciid import engines
from asciid.store import ImageStore
from asciid.store.engine import IEngine
from tests.engines._driven import ENGINES
from tests.engines.test_contract import EngineContract
from tests.engines.test_listing_contract import ListingContract
from tests.integration._daemon import ROOT
from tests.store.test_contract import PendingContract, StoreContract
from tests.store.test_machine import MemoryMachine
from tests.workers import test_contract as _workers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def _engines_in(package: str) -> set[type]:
    path = import_module(package).__path__
    modules = [import_module(f"{package}.{each.name}") for each in iter_modules(path)]
    return {
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and IEngine.implementedBy(kind)
    }


def _cases_of(contract: type[Any]) -> Iterator[type[Any]]:
    kind: type[Any]
    for kind in contract.__subclasses__():
        if issubclass(kind, SynchronousTestCase):
            yield kind
        else:
            yield from _cases_of(kind)


class SuitesTests(SynchronousTestCase):
    """The packages of `asciid.engines`, and the suites."""

    def setUp(self) -> None:
        """Find the engines: each package has one."""
        self.engines = set()
        for each in iter_modules(engines.__path__):
            if each.ispkg:
                (engine,) = _engines_in(f"{engines.__name__}.{each.name}")
                self.engines.add(engine)

    def record_engines(self) -> set[type]:
        """Return a set that gets the kinds of engines of new stores."""
        used: set[type] = set()
        make: Any = ImageStore.__init__

        def record(*arguments: object, **options: object) -> None:
            used.add(type(arguments[1]))
            make(*arguments, **options)

        self.patch(ImageStore, "__init__", record)
        return used

    def test_used(self) -> None:
        """Each package is imported by the code that makes stores."""
        imported: set[str] = set()
        for package in ("daemon", "workers"):
            for source in (ROOT / "asciid" / package).glob("*.py"):
                code = source.read_text(encoding="utf-8")
                imported |= set(re.findall(r"from asciid\.engines\.(\w+)", code))
        packages = {engine.__module__.split(".")[2] for engine in self.engines}
        self.assertEqual(packages - imported, set())

    def test_chosen_in_one_place(self) -> None:
        """Only the composition names the engine of a storage, and its own commands."""
        naming = set()
        for source in (ROOT / "asciid").rglob("*.py"):
            path = source.relative_to(ROOT / "asciid").as_posix()
            code = source.read_text(encoding="utf-8")
            if "lmdb" in code.lower() and not path.startswith(
                ("engines/lmdb/", "admin/")
            ):
                naming.add(path)
        self.assertEqual(naming, {"daemon/storing.py"})

    def test_differential(self) -> None:
        """Each engine is compared with the others."""
        compared = {type(kind(self.mktemp()).engine) for kind in ENGINES}
        self.assertEqual(compared, self.engines)

    def test_engine_contract(self) -> None:
        """Each engine has a case of either contract of engines."""
        for contract in (EngineContract, ListingContract):
            cases = {case.kind for case in contract.__subclasses__()}
            self.assertEqual(cases, set(ENGINES))

    def test_store_contract(self) -> None:
        """The store keeps its contracts over each engine."""
        contracts: Sequence[tuple[Any, Any, str]] = (
            (StoreContract, _workers.WorkersTests, "test_interfaces"),
            (PendingContract, _workers.WorkersPendingTests, "test_per_client"),
        )
        for contract, workers, test in contracts:
            used = self.record_engines()
            cases: set[Any] = {*_cases_of(contract), workers}
            for case in cases:
                case(test).debug()
            self.assertEqual(used, self.engines, contract)

    def test_machine(self) -> None:
        """The store is compared with a model over each engine."""
        used = self.record_engines()
        machines: Sequence[Any] = (MemoryMachine, *MemoryMachine.__subclasses__())
        for machine in machines:
            machine().teardown()
        self.assertEqual(used, self.engines)
