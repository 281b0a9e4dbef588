"""
Asks a daemon for its health: ``python -P -m asciid.health [URL]``.

It is for container health checks, which run it again and again: so it imports
nothing but the standard library, and is no part of the ``asciid`` command.

The URL is that of ``/readyz`` on this machine if none is given, on the port in
``ASCIID_PORT``, or in the file that ``ASCIID_CONFIG`` names.  The exit code is 0 if
the answer is a 2xx, 1 if not, 2 if there is no such URL to ask; one line says what was
answered.
"""

from __future__ import annotations

import os
import re
import sys
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["main"]

PATIENCE = 4.0
"""Seconds that a daemon is given for each step of its answer."""

_LONGEST = 4096
"""Bytes of an answer that are shown."""

_port_of = re.compile(r"(?:tcp6?:)?(?:port=)?([0-9]+)(?::.*)?").fullmatch


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Ask, print what was answered, and return the exit code."""
    try:
        host, port, path = _target(arguments, environ)
    except ValueError as error:
        _say(f"asciid.health: {error}")
        return 2
    connection = HTTPConnection(host, port, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        body = answer.read(_LONGEST).decode("utf-8", "replace").strip()
    except (OSError, HTTPException) as error:
        _say(f"no answer: {error or type(error).__name__}")
        return 1
    finally:
        connection.close()
    _say(f"{answer.status} {body}")
    return 0 if answer.status // 100 == 2 else 1  # noqa: PLR2004 - the 2 of 2xx


def _say(line: str) -> None:
    """Tell whoever reads the log of the check."""
    sys.stdout.write(f"{line}\n")


def _configured(environ: Mapping[str, str]) -> str | None:
    """
    Return the port in the configuration file, if there is one.

    Errors: `ValueError`.
    """
    file = environ.get("ASCIID_CONFIG")
    if not file or file == "none":
        return None
    # Most do without, and without what it imports.
    import tomllib  # noqa: PLC0415

    try:
        with open(file, "rb") as opened:  # noqa: PTH123 - nor for pathlib
            listening = tomllib.load(opened).get("port")
    except OSError as error:
        message = f"cannot read {file}: {error.strerror}"
        raise ValueError(message) from error
    except RecursionError as error:  # of arrays in one another
        message = f"{file}: {error}"
        raise ValueError(message) from error
    return None if listening is None else str(listening)


def _target(
    arguments: Sequence[str], environ: Mapping[str, str]
) -> tuple[str, int, str]:
    """
    Return the host, the port and the path to ask.

    Errors: `ValueError`.
    """
    if not arguments:
        listening = environ.get("ASCIID_PORT") or _configured(environ) or "4444"
        port = _port_of(listening)
        if port is None:
            message = f"the port is {listening!r}: name the URL to ask"
            raise ValueError(message)
        return "127.0.0.1", int(port[1]), "/readyz"
    parts = urlsplit(arguments[0])
    if len(arguments) > 1 or parts.scheme != "http" or not parts.hostname:
        message = "the only argument is a URL such as http://127.0.0.1:4444/readyz"
        raise ValueError(message)
    return parts.hostname, parts.port or 80, parts.path or "/readyz"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
