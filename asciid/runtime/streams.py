"""
Makes sure that standard input, output and error are open, and what if they fail.

In a process that was started with one of them closed (``>&-``), the next file or socket
gets its number: what C code prints would end up in the storage file.  So the number is
given to ``/dev/null``, opened the other way round for standard input and output:
reading and writing fail then, as they do on a closed descriptor.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from asciid.runtime.journal import error_prefix, is_journal

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = [
    "discard_unwritten_output",
    "exit_with",
    "message_stream",
    "occupy_standard_descriptors",
    "open_command_streams",
    "open_daemon_streams",
    "print_and_exit",
    "print_refusal",
]

_OUTPUT, _ERROR = 1, 2

_NULL_MODES = (os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)
"""How ``/dev/null`` takes the place of standard input, output and error."""


class _MessageFile(io.FileIO):
    """A file for messages: failed writes are ignored."""

    def write(self, data: ReadableBuffer, /) -> int:
        with suppress(OSError):
            super().write(data)
        return memoryview(data).nbytes


def message_stream(descriptor: int) -> io.TextIOWrapper:
    """
    Return a text stream on a descriptor whose failures are no errors.

    For messages about what a program does, where doing it matters more.  Each line is
    written at once.
    """
    raw = _MessageFile(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), errors="backslashreplace", line_buffering=True
    )


def discard_unwritten_output() -> None:
    """Drop output that cannot be written: it would fail again at the exit."""
    try:
        sys.stdout.flush()
    except OSError:
        sys.stdout = io.StringIO()


def print_and_exit(text: str) -> NoReturn:
    """
    Print the requested output; exit with 0, or with 1 if that is impossible.

    Raises :exc:`SystemExit`, always.
    """
    reason = os.strerror(errno.EBADF)
    if sys.stdout is not None:
        try:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
        except OSError as error:
            reason = str(error.strerror)
            discard_unwritten_output()
        else:
            raise SystemExit(0)
    message = f"asciid: cannot write to standard output: {reason}"
    raise SystemExit(message)


def exit_with(message: str, code: int) -> NoReturn:
    """
    Print `message` on standard error, if that is possible; exit with `code`.

    Raises :exc:`SystemExit`, always.
    """
    if sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(f"{message}\n")
            sys.stderr.flush()
    raise SystemExit(code)


def print_refusal(reason: object) -> None:
    """
    Print why a daemon cannot start on the standard error that it was started with.

    ``twistd`` has put its log in the place of `sys.stderr` by then.  Where both lead to
    the journal of systemd, that has it from the log.
    """
    outputs = (sys.__stdout__, sys.__stderr__)
    if sys.__stderr__ is None or all(
        stream is not None and is_journal(stream, os.environ) for stream in outputs
    ):
        return
    prefix = error_prefix(sys.__stderr__, os.environ)
    with suppress(OSError):
        print(f"{prefix}{reason}", file=sys.__stderr__, flush=True)


def occupy_standard_descriptors() -> None:
    """Open ``/dev/null`` for each of the three descriptors that is closed."""
    for descriptor, mode in enumerate(_NULL_MODES):
        try:
            os.fstat(descriptor)
        except OSError:
            # The system gives the lowest number that is free: this one.
            os.open(os.devnull, mode)


def open_command_streams() -> None:
    """
    Prepare the streams of a command.

    Writing to a standard output that was closed raises :exc:`OSError`, as on a full
    disk.  Messages that standard error does not take are lost.  Streams that took the
    place of the process's own stay as they are.
    """
    occupy_standard_descriptors()
    if sys.stdout is None:
        raw = io.FileIO(_OUTPUT, "w", closefd=False)
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw))
    if sys.stderr in (None, sys.__stderr__):
        sys.stderr = message_stream(_ERROR)


def open_daemon_streams() -> None:
    """
    Prepare the streams of a daemon: failed writes are ignored.

    Streams that replaced the process's own are kept.  Where one was
    closed, the reactor may have its number already.
    """
    occupy_standard_descriptors()
    if sys.stdout is None:
        sys.stdout = message_stream(os.open(os.devnull, os.O_WRONLY))
    elif sys.stdout is sys.__stdout__:
        sys.stdout = message_stream(_OUTPUT)
    if sys.stderr is None:
        sys.stderr = message_stream(os.open(os.devnull, os.O_WRONLY))
        # twistd writes to it why a daemon in the background did not start.
        sys.__stderr__ = sys.stderr  # type: ignore[misc] # it is not final
    elif sys.stderr is sys.__stderr__:
        sys.stderr = message_stream(_ERROR)
