"""Tests of what ``benchmarks/instructions --profile`` makes of its counts."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests._benchmarks import load

DUMP = """\
# callgrind format
version: 1
positions: line
events: Ir
summary: 1111

ob=(1) /usr/bin/python3.11
fl=(1) ???
fn=(1) PyObject_Call
0 100
+3 10
cob=(2) /venv/lib/python3.11/site-packages/lmdb/cpython.cpython-311-x86_64-linux-gnu.so
cfn=(2) txn_commit
calls=2 0
* 1000

ob=(2)
fn=(2)
0 900
* 90

ob=(3) ???
fn=(3) 0x1
0 1
totals: 1101
"""


def called() -> int:
    """Take a call and some bytecodes."""
    return 1


class LibrariesTests(SynchronousTestCase):
    """What callgrind has counted in each library."""

    def test_own_cost(self) -> None:
        """A library has the instructions of its functions, without those they call."""
        self.assertEqual(
            load("callgrind").objects_of(DUMP),
            {"python3.11": 110, "lmdb/cpython": 990, "unknown": 1},
        )


class PythonCallsTests(SynchronousTestCase):
    """What the interpreter did."""

    def test_calls(self) -> None:
        """Each function has its calls, and bytecodes without those of others."""
        calls = load("python_calls").PythonCalls()
        before = sys.gettrace()
        self.addCleanup(sys.settrace, before)
        calls.start()
        called()
        called()
        found = calls.take()
        sys.settrace(before)
        (name,) = (name for name in found if name.endswith(" called"))
        self.assertEqual(name.rpartition("/")[2], "test_request_profile.py called")
        self.assertEqual(found[name].calls, 2)
        self.assertGreaterEqual(found[name].bytecodes, 2)
        self.assertEqual(calls.take(), {})


class ProfileTests(SynchronousTestCase):
    """Where the instructions of a request go."""

    def make(self) -> Any:  # noqa: ANN401 - the benchmarks'
        """Return a profile of loads of 10 and of 30 requests."""
        return load("request_profile").make(
            50.4,
            [Counter(), Counter(libc=100, lmdb=10), Counter(libc=1_100, lmdb=12)],
            [
                {},
                {"asciid/http/_channel.py Channel.a": [10, 100], "once": [1, 900]},
                {
                    "asciid/http/_channel.py Channel.a": [50, 1_100],
                    "twisted/internet/defer.py succeed": [20, 2_000],
                    "twisted/internet/task.py Clock.advance": [20, 2_000],
                    "<attrs generated init asciid.model.Spec> __init__": [20, 100],
                    "once": [1, 900],
                },
            ],
            20,
        )

    def test_differences(self) -> None:
        """A figure is what the larger load took more, divided by its requests."""
        self.assertEqual(
            self.make(),
            {
                "instructions": 50,
                "python_calls": 4.0,
                "bytecodes": 155,
                "libraries": {"libc": 50},
                "functions": {
                    "twisted/internet/defer.py succeed": (1.0, 100.0),
                    "asciid/http/_channel.py Channel.a": (2.0, 50.0),
                    "<attrs generated init asciid.model.Spec> __init__": (1.0, 5.0),
                },
            },
        )

    def test_packages(self) -> None:
        """Bytecodes are added up by package, of asciid by its own packages."""
        self.assertEqual(
            load("request_profile").packages(self.make()),
            {"asciid/http": 50.0, "twisted": 100.0, "generated code": 5.0},
        )

    def test_text(self) -> None:
        """The file is JSON, with a line for each function."""
        text = load("request_profile").text({"kinds": {"404": self.make()}})
        self.assertIn('"asciid/http/_channel.py Channel.a": [2.0, 50.0],\n', text)
        self.assertEqual(json.loads(text)["kinds"]["404"]["instructions"], 50)
