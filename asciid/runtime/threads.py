"""Thread pools that report it if the system refuses to create a thread."""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.runtime.reactor import Reactor

__all__ = ["FixedThreadPool", "call_in_pool"]

ParametersT = ParamSpec("ParametersT")
ResultT = TypeVar("ResultT")


class FixedThreadPool(ThreadPool):
    """
    A pool of `size` threads, which all exist from `start` to `stop`.

    A pool that creates threads on demand fails at any later time, when the system's
    limit of threads (``TasksMax``, ``pids.max``) is reached for a moment.
    """

    def __init__(self, size: int, name: str) -> None:
        super().__init__(size, size, name=name)

    def start(self) -> None:
        """
        Create the threads.

        Errors: `OSError` if one cannot be created; the pool has none then.
        """
        try:
            super().start()
        except RuntimeError as error:
            self.stop()
            message = f"cannot create the threads of {self.name}: {error}"
            raise OSError(errno.EAGAIN, message) from error

    def stop(self) -> None:
        """Wait for the threads to end."""
        # A thread that could not be created is the last of them, and cannot be joined.
        with suppress(RuntimeError):
            super().stop()


def call_in_pool(
    reactor: Reactor,
    pool: ThreadPool,
    call: Callable[ParametersT, ResultT],
    *args: ParametersT.args,
    **kwargs: ParametersT.kwargs,
) -> Deferred[ResultT]:
    """
    Make `call` in a thread of `pool`, which may create threads on demand.

    Errors: those of `call`; `OSError` if no thread can be created for it.
    """
    try:
        return deferToThreadPool(reactor, pool, call, *args, **kwargs)
    except RuntimeError as error:
        # The pool would try to join it.
        pool.threads[:] = [thread for thread in pool.threads if thread.ident]
        return fail(OSError(errno.EAGAIN, f"cannot create a thread: {error}"))
