"""Thread pools that report it if the system refuses to create a thread."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from asciid.runtime._call_queue import CallQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.runtime.reactor import Reactor

__all__ = ["FixedThreadPool", "call_in_pool"]

ParametersT = ParamSpec("ParametersT")
ResultT = TypeVar("ResultT")

_Call = tuple[
    "Callable[[bool, Any], object] | None",
    "Callable[..., object]",
    tuple[Any, ...],
    dict[str, Any],
]

_log = Logger()


class FixedThreadPool(ThreadPool):
    """
    A pool of `size` threads, which all exist from `start` to `stop`.

    A pool that creates threads on demand fails at any later time, when the system's
    limit of threads (``TasksMax``, ``pids.max``) is reached for a moment.

    The threads take calls from one queue.  Twisted's pool chooses a thread for each,
    which costs more than a short call.
    """

    def __init__(self, size: int, name: str) -> None:
        super().__init__(size, size, name=name)
        self._size = size
        self._calls: CallQueue[_Call | None] = CallQueue()

    def start(self) -> None:
        """
        Create the threads.

        Errors: `OSError` if one cannot be created; the pool has none then.
        """
        self.started = True
        for number in range(self._size):
            thread = self.threadFactory(
                name=f"{self.name}-{number}", target=self._make_calls
            )
            try:
                thread.start()
            except RuntimeError as error:
                self.stop()
                message = f"cannot create the threads of {self.name}: {error}"
                raise OSError(errno.EAGAIN, message) from error
            self.threads.append(thread)

    def stop(self) -> None:
        """Wait for the threads to make the calls so far, and to end."""
        self.joined = True
        for _ in self.threads:
            self._calls.put(None)
        for thread in self.threads:
            thread.join()
        self.threads.clear()

    def callInThreadWithCallback(
        self,
        onResult: Callable[[bool, Any], object] | None,
        func: Callable[ParametersT, object],
        *args: ParametersT.args,
        **kw: ParametersT.kwargs,
    ) -> None:
        """See `IThreadPool`; a call after `stop` is not made."""
        if not self.joined:
            self._calls.put((onResult, func, args, kw))

    def _make_calls(self) -> None:
        while (call := self._calls.get()) is not None:
            _make(*call)
            # Waiting for the next one must not keep this one's memory.
            del call


def _make(
    on_result: Callable[[bool, Any], object] | None,
    func: Callable[..., object],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    """Make a call in a thread, which nothing may end, not even SystemExit."""
    try:
        try:
            result = func(*args, **kwargs)
        except BaseException:
            if on_result is None:
                raise
            on_result(False, Failure())  # noqa: FBT003 - the interface of Twisted
        else:
            if on_result is not None:
                on_result(True, result)  # noqa: FBT003 - as above
    except BaseException:  # noqa: BLE001 - logged
        _log.failure("a call in a thread failed")


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
