"""Has glibc's allocator return memory that is no longer used to the system."""

from __future__ import annotations

import ctypes
import time
from typing import TYPE_CHECKING

from twisted.internet.task import LoopingCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

__all__ = ["MemoryTrimmer", "set_allocator_thresholds", "trim"]

# <malloc.h>
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3

_LARGE = 128 * 1024
"""
Bytes of a block that is mapped by itself, and unmapped when it is freed.

Reads of the network, of 64 KiB and a little, must stay below.
"""

_SPARE = 4 * 1024 * 1024
"""Bytes that the heap may have free at its end."""

INTERVAL = 10.0
"""Seconds between two checks of whether memory is to be returned."""

_WORK = 0.05
"""Seconds of processor time in an interval that may have left memory to return."""

_BUSY = 0.2
"""The part of the time for which a busy process uses the processor."""


def set_allocator_thresholds(libc: object = None) -> None:
    """
    Keep large blocks out of the heap, where a long-lived one keeps all of it.

    By itself glibc raises the size of large blocks, up to 32 MiB, once one was freed.
    With another C library this does nothing.
    """
    mallopt = getattr(libc or _libc(), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        # Else these would follow the size of large blocks.
        mallopt(_M_TRIM_THRESHOLD, _SPARE)
        mallopt(_M_TOP_PAD, _LARGE)


def trim(libc: object = None) -> None:
    """
    Return free memory within the heap; for a thread, since it takes milliseconds.

    With another C library than glibc this does nothing.
    """
    malloc_trim = getattr(libc or _libc(), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


class MemoryTrimmer:
    """
    Returns free memory once a process that has worked is not busy any more.

    `in_thread` runs a call in a thread; `clock` provides IReactorTime;
    `processor_time` returns the seconds of processor time that the process has used.
    """

    def __init__(
        self,
        in_thread: Callable[[Callable[[], None]], Deferred[None]],
        *,
        clock: IReactorTime,
        processor_time: Callable[[], float] = time.process_time,
        trim: Callable[[], None] = trim,
    ) -> None:
        self._in_thread = in_thread
        self._processor_time = processor_time
        self._trim = trim
        self._last = processor_time()
        self._worked = False
        self._loop = LoopingCall(self._check)
        self._loop.clock = clock

    def start(self) -> None:
        """Begin."""
        self._loop.start(INTERVAL, now=False)

    def stop(self) -> None:
        """Stop, if it was started."""
        if self._loop.running:
            self._loop.stop()

    def _check(self) -> Deferred[None] | None:
        now = self._processor_time()
        used, self._last = now - self._last, now
        # In the interval after the last work, too: it may have continued after a trim.
        worked, self._worked = self._worked, used >= _WORK
        if used > _BUSY * INTERVAL or not (worked or self._worked):
            return None
        # Retried at the next interval.
        return self._in_thread(self._trim).addErrback(lambda _: None)
