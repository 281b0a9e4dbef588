"""``asciid open``: opens the page of an image in a browser."""

from __future__ import annotations

import webbrowser
from hashlib import file_digest, sha256
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from asciid.art.encodings import UndecodableError
from asciid.cli._conversion import charset_option, read_art
from asciid.cli._exit_codes import EXIT_CODES, FAILED, NOT_FOUND, REFUSED
from asciid.cli._filter import one_line
from asciid.cli._server import (
    CommandError,
    Target,
    TargetType,
    run_with_client,
    server_option,
)
from asciid.client import NotFoundError
from asciid.model import ImageState

if TYPE_CHECKING:
    from asciid.cli._dependencies import Dependencies
    from asciid.client import Client
    from asciid.runtime.reactor import Reactor

__all__ = ["open_command"]

_HELP = f"""
Open the page of an image in a browser, or print its link.

WHAT is the SHA-256 of an image, the first 12 digits of that, its URL, random, or a file
that was uploaded. A file whose name could be one of the others needs a path, such as
./random.

{EXIT_CODES}
\b
Examples:
  asciid open fish.txt
  asciid open --print 3c276f8da12d
  asciid open random
"""


class _WhatType(click.ParamType):  # type: ignore[type-arg] # old click has none
    """An image, or a file with one."""

    name = "image"
    _images = TargetType(random=True)

    def convert(
        self,
        value: str,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Target | Path:
        """Return what `value` names."""
        try:
            return self._images.convert(value, param, ctx)
        except click.BadParameter as error:
            path = Path(value)
            if path.exists():
                return path
            message = f"{error.message}, and there is no such file"
            return self.fail(message, param, ctx)

    def shell_complete(
        self, _ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete the names of files."""
        return [CompletionItem(incomplete, type="file")]


@click.command("open", help=_HELP)
@click.argument("what", metavar="WHAT", type=_WhatType())
@server_option
@charset_option
@click.option("--print", "only_print", is_flag=True, help="Only print the link.")
@click.pass_obj
def open_command(
    dependencies: Dependencies,
    *,
    what: Target | Path,
    server: str,
    charset: str,
    only_print: bool,
) -> int:
    """Open the page of an image; return the exit code."""
    image = Target(_hash_of(what, charset)) if isinstance(what, Path) else what
    link = ""

    async def main(client: Client, _reactor: Reactor) -> int:
        nonlocal link
        name = await image.resolve(client)
        try:
            status = await client.status(name)
        except NotFoundError as error:
            if isinstance(what, Path):
                message = f"{what} is not on {image.server or server}: upload it first"
                raise CommandError(one_line(message), NOT_FOUND) from error
            raise
        if status.state is not ImageState.COMPLETE:
            message = f"the upload of {name} is not complete"
            raise CommandError(message, NOT_FOUND)
        link = client.link(name)
        return 0

    code = run_with_client(dependencies, image.server or server, main)
    if code:
        return code
    if only_print:
        click.echo(link)
    elif not webbrowser.open(link):
        message = f"no browser found for {link}"
        raise CommandError(message, FAILED)
    return 0


def _hash_of(path: Path, charset: str) -> str:
    try:
        content = read_art(path, charset, str(path)).content
    except UndecodableError as error:
        raise CommandError(one_line(f"{path}: {error}"), REFUSED) from error
    if isinstance(content, bytes):
        return sha256(content).hexdigest()
    with content.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
