"""How many examples tests with random or many ones try."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["THOROUGH", "examples", "some_of"]

ExampleT = TypeVar("ExampleT")

THOROUGH = os.environ.get("ASCIID_THOROUGH") == "1"
"""Whether all are tried; ``script/test --thorough`` sets it."""

_SHARE = 3
"""An ordinary run tries one of so many."""


def examples(count: int) -> settings:
    """Have hypothesis try `count` examples, or a share of them."""
    return settings(max_examples=count if THOROUGH else -(-count // _SHARE))


def some_of(each: Sequence[ExampleT]) -> Sequence[ExampleT]:
    """Return all examples, or a share of them."""
    return each if THOROUGH else each[::_SHARE]
