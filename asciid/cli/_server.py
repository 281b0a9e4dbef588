"""Options, targets and error handling of the commands that use a server."""

from __future__ import annotations

import os
import re
import stat
import sys
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import frozen

from asciid.art.encodings import UndecodableError
from asciid.cli._bar import can_show
from asciid.cli._exit_codes import FAILED, NOT_FOUND, REFUSED
from asciid.cli._filter import one_line
from asciid.cli._reporting import os_error_text
from asciid.cli._run import run
from asciid.client import (
    Client,
    ClientError,
    NotFoundError,
    NotTextError,
    ProblemError,
    SplitCharacterError,
)
from asciid.client.agent import parse_base_url
from asciid.client.wire import check_token

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twisted.internet.defer import Deferred

    from asciid.cli._dependencies import Dependencies

__all__ = [
    "CommandError",
    "Target",
    "TargetType",
    "exit_code",
    "is_stream",
    "read_secret",
    "read_token",
    "run_with_client",
    "server_option",
    "token_option",
]

_LONGEST_SECRET = 8 * 1024
"""Maximum bytes of a file with a token or an edit key."""

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")

CommandT = TypeVar("CommandT", bound="Callable[..., Any]")


def _checked_url(_: click.Context, __: click.Parameter, text: str) -> str:
    try:
        return parse_base_url(text).to_text()
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


server_option = click.option(
    "--server",
    envvar="ASCIID_SERVER",
    default="http://localhost:4444",
    show_envvar=True,
    metavar="URL",
    callback=_checked_url,
    help="The server.",
)

token_option = click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the token for a server that requires one; default: $ASCIID_TOKEN.",
)


def read_token(path: Path | None) -> str | None:
    """
    Return the token in the file at `path`, or by default in ASCIID_TOKEN, if any.

    Not an argument: every user of the machine can read the arguments of a process.
    """
    if path is not None:
        return read_secret(path, "token")
    token = os.environ.get("ASCIID_TOKEN", "").strip()
    return _checked_secret(token, "ASCIID_TOKEN", "token") if token else None


def read_secret(path: Path, kind: str) -> str:
    """Return the secret in the file at `path`; `kind` is ``token`` or ``edit key``."""
    return _checked_secret(_file_start(path).strip(), str(path), kind)


def _checked_secret(secret: str, place: str, kind: str) -> str:
    try:
        check_token(secret)
    except ValueError as error:
        message = f"{place} does not hold one {kind}"
        raise click.ClickException(message) from error
    return secret


def _file_start(path: Path) -> str:
    """Return the start of a file, one character more than a secret may have."""
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST_SECRET + 1).decode("latin-1")
    except OSError as error:
        raise click.ClickException(os_error_text(error)) from error


@frozen
class Target:
    """An image named on the command line."""

    sha256: str
    server: str | None = None
    """The server in its URL; None if only the hash was given."""


class TargetType(click.ParamType):  # type: ignore[type-arg] # old click has none
    """An image by its hash or its URL."""

    name = "image"

    def convert(
        self,
        value: str,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Target:
        """Return the target that `value` names."""
        if _SHA256.fullmatch(value):
            return Target(value.lower())
        base, separator, name = value.rpartition("/image/")
        try:
            if separator and _SHA256.fullmatch(name):
                return Target(name.lower(), parse_base_url(base).to_text())
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return self.fail(
            f"{value!r} is neither a SHA-256 nor the URL of an image", param, ctx
        )


def exit_code(error: Exception) -> int:
    """Return the exit code for `error`."""
    if isinstance(error, NotFoundError):
        return NOT_FOUND
    if isinstance(error, NotTextError | SplitCharacterError | UndecodableError):
        return REFUSED
    if (
        isinstance(error, ProblemError)
        and error.status < HTTPStatus.INTERNAL_SERVER_ERROR
        and not error.passing
    ):
        return REFUSED
    return FAILED


def is_stream(path: Path) -> bool:
    """Return whether `path` is a pipe or a device, such as a terminal."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


class CommandError(click.ClickException):
    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc] # click reads it here, too


def is_terminal() -> bool:
    """Return whether standard error is a terminal."""
    return sys.stderr.isatty()


def run_with_client(
    dependencies: Dependencies,
    server: str,
    main: Callable[[Client, Any], Coroutine[Deferred[Any], Any, int]],
    *,
    token: str | None = None,
    has_bar: bool = False,
) -> int:
    """
    Run `main` with a client of `server` and the reactor; return its exit code.

    A :exc:`ClientError` ends the command with one line.  On a terminal the first retry
    is reported, unless the command `has_bar`.
    """
    reactor = dependencies.reactor
    reported = not is_terminal() or (has_bar and can_show())

    def report_retry(error: ClientError) -> None:
        nonlocal reported
        if not reported:
            reported = True
            click.echo(one_line(f"asciid: {error} (retrying)"), err=True)

    async def talk() -> int:
        async with Client(
            server,
            agent=dependencies.agent,
            token=token,
            reactor=reactor,
            on_retry=report_retry,
        ) as client:
            return await main(client, reactor)

    try:
        return run(reactor, talk)
    except ClientError as error:
        raise CommandError(one_line(str(error)), exit_code(error)) from error
