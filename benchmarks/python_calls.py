"""Counts what the interpreter does, by Python function."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from types import CodeType, FrameType


class Function(NamedTuple):
    """What a function takes."""

    calls: float
    """Of a generator or coroutine, also how often it is resumed."""
    bytecodes: float
    """Instructions of the interpreter, without those of the functions it calls."""


class PythonCalls:
    """The calls of this thread since the last `take`."""

    def __init__(self) -> None:
        self._calls: Counter[CodeType] = Counter()
        self._bytecodes: Counter[CodeType] = Counter()

    def start(self) -> None:
        """Begin with the next function that is called."""
        sys.settrace(self._call)

    def take(self) -> dict[str, Function]:
        """Stop, and return what each function took, by file and name."""
        sys.settrace(None)
        found: dict[str, Function] = {}
        for code, calls in self._calls.items():
            name = f"{_place(code.co_filename)} {code.co_qualname}"
            before = found.get(name, Function(0, 0))
            found[name] = Function(
                before.calls + calls, before.bytecodes + self._bytecodes[code]
            )
        self._calls.clear()
        self._bytecodes.clear()
        return found

    def _call(self, frame: FrameType, _event: str, _argument: object) -> Any:  # noqa: ANN401 - itself
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        self._calls[frame.f_code] += 1
        return self._bytecode

    def _bytecode(self, frame: FrameType, event: str, _argument: object) -> Any:  # noqa: ANN401 - itself
        if event == "opcode":
            self._bytecodes[frame.f_code] += 1
        return self._bytecode


def _place(path: str) -> str:
    """Return a path without the directories that differ between installations."""
    for mark in ("/site-packages/", "/benchmarks/", "/asciid/"):
        _, found, rest = path.rpartition(mark)
        if found:
            return rest if mark == "/site-packages/" else mark[1:] + rest
    _, found, rest = path.partition(f"/python{sys.version_info[0]}.")
    if found:
        return f"python/{rest.partition('/')[2]}"
    return path
