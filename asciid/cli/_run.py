"""Runs the reactor until a coroutine ends or a signal stops it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from asciid.cli._exit_codes import INTERRUPTED, TERMINATED

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twisted.python.failure import Failure

    from asciid.runtime.reactor import Reactor

__all__ = ["run"]


def run(
    reactor: Reactor,
    main: Callable[[], Coroutine[Deferred[Any], Any, int]],
) -> int:
    """
    Run `reactor` until `main` has ended; return the exit code `main` returned.

    When the reactor is stopped first, `main` is cancelled and the result is
    `TERMINATED` if SIGTERM did so, else `INTERRUPTED`.  What `main` raises is
    raised from here.
    """
    code: int | None = None
    failure: Failure | None = None
    stopping = False

    def start() -> None:
        def stopped_early() -> None:
            nonlocal stopping
            stopping = True
            running.cancel()

        def ended(result: int | Failure) -> None:
            nonlocal code, failure
            if stopping:
                return
            if isinstance(result, int):
                code = result
            else:
                failure = result
            reactor.stop()

        reactor.addSystemEventTrigger("before", "shutdown", stopped_early)
        running = Deferred.fromCoroutine(main())
        running.addBoth(ended)

    reactor.callWhenRunning(start)
    reactor.run()
    if failure is not None:
        failure.raiseException()
    if code is not None:
        return code
    # Private, but there is no public way; twistd reads it, too.
    by = getattr(reactor, "_exitSignal", None)
    return TERMINATED if by == signal.SIGTERM else INTERRUPTED
