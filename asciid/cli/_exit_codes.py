"""The exit codes of the ``asciid`` command."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "EXIT_CODES",
    "FAILED",
    "INTERRUPTED",
    "NOT_FOUND",
    "REFUSED",
    "STOPPED",
    "TERMINATED",
]

FAILED = 1
NOT_FOUND = 3
REFUSED = 4

INTERRUPTED = 130
"""The exit code of a program that SIGINT ended, by the shell's convention."""

TERMINATED = 143
"""The exit code of a program that SIGTERM ended."""

STOPPED: Mapping[int, str] = MappingProxyType(
    {INTERRUPTED: "interrupted", TERMINATED: "terminated"}
)
"""Exit code of a program ended by a signal -> what to print."""

EXIT_CODES = """
The exit code is 0 on success, 1 on failure, 2 if the command line is wrong, 3 if the
server does not have the image, 4 if it refused the request or the file can never be
stored, 130 after an interrupt, 143 after SIGTERM.
"""
"""The paragraph on exit codes in the help of commands that use a server."""
