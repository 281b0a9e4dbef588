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
from asciid.cli._run import run
from asciid.client import (
    AmbiguousError,
    Client,
    ClientError,
    NotFoundError,
    NotTextError,
    ProblemError,
    SplitCharacterError,
)
from asciid.client.agent import parse_base_url
from asciid.client.wire import check_token
from asciid.runtime.text import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from twisted.internet.defer import Deferred

    from asciid.cli._dependencies import Dependencies

__all__ = [
    "RANDOM",
    "CommandError",
    "HashType",
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

_HASH_DIGITS = 64
_LINK_DIGITS = 12
"""Hex digits that are enough to name an image."""

RANDOM = "random"
"""Names an image that the server draws."""

_is_hex = re.compile(r"[0-9a-fA-F]+").fullmatch
_split_url = re.compile(
    r"(?P<base>[^?#]*)"
    r"(?:/image/(?P<sha256>[0-9a-fA-F]+)(?:/about|/chunks)?"
    r"|/i/(?P<digits>[0-9a-fA-F]+)(?:\.(?:svg|png|css|txt)|/embed)?)"
    r"(?:[?#].*)?",
    re.DOTALL,
).fullmatch

_NEVER_SUCCESSFUL = (
    AmbiguousError,
    NotTextError,
    SplitCharacterError,
    UndecodableError,
)

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
        raise click.ClickException(reason_of(error)) from error


@frozen
class Target:
    """An image named on the command line."""

    name: str
    """The first 12 to 64 lower-case hex digits of its hash, or `RANDOM`."""
    server: str | None = None
    """The server in its URL; None if it has none."""

    async def resolve(self, client: Client) -> str:
        """Return its hash, for which the server is asked unless it is given."""
        if self.name == RANDOM:
            return await client.random()
        if len(self.name) == _HASH_DIGITS:
            return self.name
        return await client.resolve(self.name)


class TargetType(click.ParamType):  # type: ignore[type-arg] # old click has none
    """
    An image by its hash, the first digits of that, or its URL.

    With `random` also by that word, or the URL of random images.
    """

    name = "image"

    def __init__(self, *, random: bool = False) -> None:
        self._random = random

    def convert(
        self,
        value: str,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Target:
        """Return the target that `value` names."""
        try:
            return self._parse(value)
        except ValueError as error:
            return self.fail(str(error), param, ctx)

    def _parse(self, text: str) -> Target:
        if _is_hex(text):
            return Target(_checked_digits(text))
        if self._random and text == RANDOM:
            return Target(RANDOM)
        found = _split_url(text)
        if found is None:
            if self._random and text.endswith(f"/{RANDOM}"):
                base = text.removesuffix(f"/{RANDOM}")
                return Target(RANDOM, parse_base_url(base).to_text())
            message = f"{text!r} is neither a SHA-256 nor the URL of an image"
            raise ValueError(message)
        name = found["sha256"] or found["digits"]
        if found["sha256"] and len(name) != _HASH_DIGITS:
            message = f"{name} has {len(name)} hex digits; a SHA-256 has {_HASH_DIGITS}"
            raise ValueError(message)
        return Target(_checked_digits(name), parse_base_url(found["base"]).to_text())


class HashType(click.ParamType):  # type: ignore[type-arg] # old click has none
    """
    An image by its hash or its URL, which must have the whole hash.

    `printed_by` is the command that prints it.
    """

    name = "image"

    def __init__(self, printed_by: str) -> None:
        self._printed_by = printed_by

    def convert(
        self,
        value: str,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str:
        """Return the hash that `value` has."""
        name = TargetType().convert(value, param, ctx).name
        if len(name) < _HASH_DIGITS:
            message = f"{value} has a part of a SHA-256; {self._printed_by} prints all"
            self.fail(message, param, ctx)
        return name


def _checked_digits(digits: str) -> str:
    if not _LINK_DIGITS <= len(digits) <= _HASH_DIGITS:
        message = (
            f"{digits} has {len(digits)} hex digits; a SHA-256 has {_HASH_DIGITS}, and "
            f"its first {_LINK_DIGITS} are enough"
        )
        raise ValueError(message)
    return digits.lower()


def exit_code(error: Exception) -> int:
    """Return the exit code for `error`."""
    if isinstance(error, NotFoundError):
        return NOT_FOUND
    if isinstance(error, _NEVER_SUCCESSFUL):
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
