"""
Health check of a daemon: ``python -P -m asciid.health [URL]``.

For container health checks, which run it often: so it imports little more than the
standard library, and is not a part of the ``asciid`` command.

The default URL is ``/readyz`` on this machine, at the port and interface of the
endpoint in ``ASCIID_PORT`` or in the file that ``ASCIID_CONFIG`` names.  Prints the
response on one line.  The exit code is 0 for status 2xx, 1 if not, 2 if the URL is
unknown or invalid, even if printing fails.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from asciid.config.service_links import is_service_link
from asciid.runtime.streams import open_daemon_streams
from asciid.runtime.text import reason_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["main"]

TIMEOUT = 4.0
"""Timeout in seconds of each socket operation."""

_LONGEST = 4096
"""Maximum bytes of a response that are printed."""

_arguments_of = re.compile(r"(?<!\\):").split
"""Splits the description of an endpoint at colons; a backslash escapes one."""

_LARGEST_PORT = 2**16 - 1

_PARAMETERS = {
    "tcp": ("port", "interface"),
    "tcp6": ("port", "backlog", "interface"),
    "unix": ("address",),
}
"""Positional parameters of Twisted's endpoints."""

_EVERY_INTERFACE = {
    "": ("127.0.0.1", "::1"),
    "0.0.0.0": ("127.0.0.1",),  # noqa: S104 - compared with, not bound to
    "::": ("::1", "127.0.0.1"),
}
"""Local addresses of a daemon that listens on all interfaces."""


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the check, print the response, and return the exit code."""
    try:
        connections, path = _target(arguments, environ)
    except ValueError as error:
        _say(f"asciid.health: {error}")
        return 2
    try:
        with closing(_first_open(connections)) as connection:
            connection.request("GET", path, headers={"Connection": "close"})
            answer = connection.getresponse()
            body = answer.read(_LONGEST).decode("utf-8", "replace").strip()
    except (OSError, HTTPException) as error:
        _say(f"no response: {reason_of(error)}")
        return 1
    except ValueError as error:  # invalid host or path
        host = connections[0].host
        _say(f"asciid.health: cannot request {path!r} from {host!r}: {error}")
        return 2
    _say(f"{answer.status} {body}")
    return 0 if answer.status in range(200, 300) else 1


class _UnixConnection(HTTPConnection):
    """A connection to the Unix socket at a path."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self._path)


def _first_open(connections: Sequence[HTTPConnection]) -> HTTPConnection:
    """Return the first connection that can be opened, or else the last."""
    *first, last = connections
    for connection in first:
        with suppress(OSError):
            connection.connect()
            return connection
    return last


def _say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n".encode(errors="backslashreplace").decode())


def _configured(environ: Mapping[str, str]) -> str | None:
    """
    Return the port in the configuration file, if there is one.

    Errors: `ValueError`.
    """
    file = environ.get("ASCIID_CONFIG")
    if not file or file == "none":
        return None
    # Slow to import, and rarely needed.
    import tomllib  # noqa: PLC0415

    try:
        with open(file, "rb") as opened:  # noqa: PTH123 - pathlib is slow to import, too
            listening = tomllib.load(opened).get("port")
    except OSError as error:
        message = f"cannot read {file}: {error.strerror}"
        raise ValueError(message) from error
    except RecursionError as error:  # deeply nested arrays
        message = f"{file}: {error}"
        raise ValueError(message) from error
    return None if listening is None else str(listening)


def _target(
    arguments: Sequence[str], environ: Mapping[str, str]
) -> tuple[Sequence[HTTPConnection], str]:
    """
    Return the connections to try in order, and the path to request.

    Errors: `ValueError`.
    """
    if not arguments:
        variable = environ.get("ASCIID_PORT", "")
        if is_service_link("ASCIID_PORT", variable):
            variable = ""
        return _reached(variable or _configured(environ) or "4444"), "/readyz"
    parts = urlsplit(arguments[0])
    if len(arguments) > 1 or parts.scheme != "http" or not parts.hostname:
        message = "expected one argument, a URL such as http://127.0.0.1:4444/readyz"
        raise ValueError(message)
    connection = HTTPConnection(parts.hostname, parts.port or 80, timeout=TIMEOUT)
    return [connection], parts.path or "/readyz"


def _reached(endpoint: str) -> Sequence[HTTPConnection]:
    """
    Return connections to a daemon that listens on `endpoint`, in the order to try.

    Errors: `ValueError`.
    """
    kind, *arguments = _arguments_of(endpoint)
    if kind.isdecimal():
        kind, arguments = "tcp", [kind]
    named = {"address": "", "port": "", "interface": "" if kind == "tcp" else "::"}
    unnamed = iter(_PARAMETERS.get(kind, ()))
    for argument in arguments:
        name, equals, value = argument.partition("=")
        named.update({name: value} if equals else {next(unnamed, ""): argument})
    if kind == "unix":
        return [_UnixConnection(_unescaped(named["address"]))]
    port = named["port"]
    if (
        kind not in _PARAMETERS
        or re.fullmatch("[0-9]{1,9}", port) is None
        or int(port) > _LARGEST_PORT
    ):
        message = f"unsupported endpoint {endpoint!r}: pass a URL"
        raise ValueError(message)
    interface = _unescaped(named["interface"])
    hosts = _EVERY_INTERFACE.get(interface, (interface,))
    return [HTTPConnection(host, int(port), timeout=TIMEOUT) for host in hosts]


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


if __name__ == "__main__":
    open_daemon_streams()
    sys.exit(main(sys.argv[1:], os.environ))
