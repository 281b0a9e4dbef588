"""Descriptors, signals and a socket by which the processes of a daemon communicate."""

from __future__ import annotations

import signal

from asciid.runtime.signals import SURVIVED

__all__ = [
    "BLOCKED_AT_START",
    "FIRST_INHERITED",
    "GENERATIONS",
    "HAS_SUCCESSOR",
    "HEARTBEAT",
    "LOCK",
    "LOG",
    "OUTPUT",
    "PARENT_PIPE",
    "READY",
    "REREAD",
    "STATUS",
    "WRITER_SOCKET",
]

PARENT_PIPE = 0
"""The descriptor that reaches end of file when the parent exits."""

LOG = 1
"""The descriptor to which a process writes log events, each a line of JSON."""

OUTPUT = 2
"""The descriptor of standard error, to which `print` writes, too."""

STATUS = 3
"""The descriptor to which a process writes `HEARTBEAT` and `READY`, a byte each."""

HEARTBEAT = b"."
"""The reactor of the process runs."""

READY = b"\n"
"""The process is ready."""

LOCK = 4
"""The descriptor that has the lock on the storage: see `StorageLock`."""

GENERATIONS = 5
"""The descriptor of the `Generations`."""

FIRST_INHERITED = 6
"""
The first of the descriptors that only one kind of process inherits.

For a worker these are its sockets, then the copy of the tokens, then those of the
certificates; for the writer that of the `Record`.
"""

WRITER_SOCKET = "writer.sock"
"""The name of the socket in the storage directory that workers connect to."""

REREAD = signal.SIGUSR1
"""The signal at which a worker rereads its files."""

HAS_SUCCESSOR = signal.SIGUSR2
"""The signal that a process has a successor, and is about to be stopped."""

BLOCKED_AT_START = (*SURVIVED, signal.SIGINT)
"""Signals that are blocked in a process until it has handlers for them."""
