"""
Where the ``asciid`` program begins.

Nothing is imported here, nor by the package, but what Python itself has: what the
command needs takes a good part of a second, and Ctrl-C may come within that.
"""

from __future__ import annotations

import sys

__all__ = ["main"]

_INTERRUPTED = 130  # as in cli/_exit_codes.py, which may not be there yet


def main() -> None:
    """Import the command and run it.  Raises :exc:`SystemExit`, always."""
    try:
        from asciid.cli.main import main as command  # noqa: PLC0415 - see above

        command()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
