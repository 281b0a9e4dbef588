"""
The process that renders: ``python -P -m asciid.web._renderer_process``.

A process that serves requests starts it; see `asciid.web.renderer`.  It reads jobs from
its standard input, one at a time, and exits at the end of file there: when it is no
longer needed, or when the other process has exited.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from traceback import format_exc
from typing import TYPE_CHECKING

from asciid import __version__
from asciid.runtime.niceness import lower_priority
from asciid.web._job_handlers import JobHandlers
from asciid.web.jobs import (
    ANSWERS,
    BLOCKED_AT_START,
    JOBS,
    PREFIX,
    PRINTED,
    TIME_LIMIT,
    Failed,
    Ready,
    decode_job,
    framed,
)

if TYPE_CHECKING:
    from typing import IO

    from asciid.web.jobs import AnyAnswer

__all__ = ["main"]

MEMORY = 768 * 1024 * 1024
"""Maximum address space in bytes."""

CPU_TIME = round(2 * TIME_LIMIT)
"""
Seconds of CPU time that a job may take.

The other process measures time and kills this one before; this is for when it cannot.
"""

_OOM_SCORE = "500"
"""Of all processes this one is to be killed first when memory is short; see proc(5)."""

_LONGEST_REPORT = 4096


def main() -> None:
    """Do jobs until the end of file."""
    for number in BLOCKED_AT_START:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED_AT_START)
    # Nothing may be printed among the answers.
    answers = os.fdopen(os.dup(ANSWERS), "wb", buffering=0)
    os.dup2(PRINTED, ANSWERS)
    lower_priority()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
    _limit(resource.RLIMIT_AS, MEMORY)
    handlers = JobHandlers()
    try:
        with os.fdopen(JOBS, "rb") as jobs:
            _send(answers, Ready(version=__version__))
            while body := _receive(jobs):
                _limit_time()
                _send(answers, _do(handlers, body))
    except BrokenPipeError:
        # The other process has exited.
        sys.exit(0)


def _do(handlers: JobHandlers, body: bytes) -> AnyAnswer:
    try:
        return handlers.do(decode_job(body))
    except MemoryError:
        # Little works then, and what is kept may be the reason.
        os.write(PRINTED, b"out of memory\n")
        os._exit(1)
    except Exception:  # noqa: BLE001 - a mistake must not end the process
        return Failed(report=format_exc()[-_LONGEST_REPORT:])


def _receive(jobs: IO[bytes]) -> bytes:
    """Return the next message; nothing at the end of file."""
    prefix = jobs.read(PREFIX)
    return jobs.read(int.from_bytes(prefix, "big")) if len(prefix) == PREFIX else b""


def _send(answers: IO[bytes], answer: AnyAnswer) -> None:
    data = memoryview(framed(answer))
    while data:
        data = data[answers.write(data) :]


def _limit_time() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + CPU_TIME)


def _limit(kind: int, limit: int) -> None:
    """Set the soft limit of a resource, within its hard limit."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    # The system may forbid it, as it may a lower priority.
    with suppress(OSError):
        resource.setrlimit(kind, (limit, hard))


if __name__ == "__main__":
    main()
