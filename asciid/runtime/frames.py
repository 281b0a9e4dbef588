"""
Releases the objects that the frames of an exception refer to.

A transaction that reads a storage file keeps its reader slot for as long as anything
refers to it.  A handler of an exception easily makes a reference cycle with it, which
the garbage collector, tuned to run rarely, finds late: until then other readers lack a
slot.
"""

from __future__ import annotations

from traceback import clear_frames

__all__ = ["forget_frames", "forget_tracebacks"]


def forget_frames(error: BaseException) -> None:
    """Empty the frames of `error`, and of its context, that have ended."""
    one: BaseException | None = error
    while one is not None:
        clear_frames(one.__traceback__)
        one = one.__context__


def forget_tracebacks(error: BaseException) -> None:
    """
    Remove the tracebacks of `error` and of its context.

    For errors whose text suffices, and whose frames are still running.
    """
    one: BaseException | None = error
    while one is not None:
        one.__traceback__ = None
        one = one.__context__
