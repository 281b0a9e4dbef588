"""
Lets go of what an exception refers to in the frames that it came through.

LMDB has a place for each reader, and keeps it for as long as anything refers to the
transaction.  What handles an exception easily makes a cycle with it, which the
garbage collector, that rests, finds late: other readers would have no place meanwhile.
"""

from __future__ import annotations

from traceback import clear_frames
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["forget_frames", "forget_tracebacks"]


def forget_frames(error: BaseException) -> None:
    """Empty the frames of `error`, and of those it came from, that have ended."""
    for one in _chain(error):
        clear_frames(one.__traceback__)


def forget_tracebacks(error: BaseException) -> None:
    """
    Forget where `error`, and those it came from, were raised.

    It is for errors whose text says it all, and whose frames are yet to end.
    """
    for one in _chain(error):
        one.__traceback__ = None


def _chain(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__context__
