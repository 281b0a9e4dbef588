"""The modules of the benchmarks, which are scripts and no package."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

__all__ = ["BENCHMARKS", "load"]

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def load(name: str) -> Any:  # noqa: ANN401 - its own
    """Return a module of the benchmarks."""
    with patch.object(sys, "path", [str(BENCHMARKS), *sys.path]):
        return import_module(name)
