"""
Entry point of the ``asciid`` command.

Imports only the standard library here and in the package: importing the command takes a
good part of a second, during which Ctrl-C must work.
"""

from __future__ import annotations

import sys

__all__ = ["main"]

_INTERRUPTED = 130  # as in cli/_exit_codes.py, which may not be imported yet


def main() -> None:
    """Import and run the command.  Raises :exc:`SystemExit`, always."""
    try:
        from asciid.cli.main import main as command  # noqa: PLC0415 - see above

        command()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
