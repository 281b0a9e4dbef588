"""Says where the instructions of a request go: to which libraries and functions."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from python_calls import Function
from verdict import per_request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Profile = dict[str, Any]

LEAST_INSTRUCTIONS = 1.0
"""A library with fewer instructions a request is left out ..."""
LEAST_CALLS = 0.02
"""... and so is a function with fewer calls a request."""
DRIVER = ("benchmarks/", "twisted/internet/testing.py", "twisted/internet/task.py")
"""What stands for clients and the reactor's loop, and is no part of a request."""


def make(
    instructions: float,
    objects: Sequence[Counter[str]],
    calls: Sequence[Mapping[str, Sequence[float]]],
    requests: int,
) -> Profile:
    """
    Return what a request takes.

    `objects` and `calls` are those of the warm-up, of a smaller and of a larger load,
    which has `requests` more.
    """
    libraries = {
        name: round(each)
        for name in objects[-1]
        if (each := per_request([part[name] for part in objects], requests))
        >= LEAST_INSTRUCTIONS
    }
    functions = {}
    for name in calls[-1]:
        parts = [part.get(name, (0, 0)) for part in calls]
        function = Function(
            *(
                round(per_request([part[at] for part in parts], requests), 2)
                for at in range(2)
            )
        )
        if function.calls >= LEAST_CALLS and not name.startswith(DRIVER):
            functions[name] = function
    return {
        "instructions": round(instructions),
        "python_calls": round(sum(each.calls for each in functions.values()), 1),
        "bytecodes": round(sum(each.bytecodes for each in functions.values())),
        "libraries": _descending(libraries, lambda value: value),
        "functions": _descending(functions, lambda value: value.bytecodes),
    }


def _descending(values: Mapping[str, Any], size: Any) -> dict[str, Any]:  # noqa: ANN401 - a function
    return dict(sorted(values.items(), key=lambda item: (-size(item[1]), item[0])))


def packages(profile: Profile) -> Counter[str]:
    """Return the bytecodes by package: `asciid/http`, `twisted` ..."""
    found: Counter[str] = Counter()
    for name, (_, bytecodes) in profile["functions"].items():
        found[_package(name.partition(" ")[0])] += bytecodes
    return found


def _package(path: str) -> str:
    if path.startswith("<"):
        return "generated code"  # the methods of attrs classes
    first, *others = path.split("/")
    return f"asciid/{others[0]}" if first == "asciid" and others[1:] else first


def text(profiles: Mapping[str, Any]) -> str:
    """Return the contents of a file: JSON, with a line for each library or function."""
    indented = json.dumps(profiles, indent=1, ensure_ascii=False)
    return re.sub(r"\[\s+([\d.]+),\s+([\d.]+)\s+\]", r"[\1, \2]", indented) + "\n"


def table(kinds: Mapping[str, Profile], names: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a table, one a kind of request."""
    yield f"{'a request':<26}{'instructions':>14}{'Python calls':>14}{'bytecodes':>14}"
    for name in names:
        kind = kinds[name]
        yield (
            f"{name:<26}{kind['instructions']:>14,}{kind['python_calls']:>14,}"
            f"{kind['bytecodes']:>14,}"
        )
