"""``asciid rm``: deletes images from the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from asciid.cli._editing import Editing, edit_key_option
from asciid.cli._exit_codes import EXIT_CODES
from asciid.cli._filter import one_line
from asciid.cli._server import (
    TargetType,
    exit_code,
    read_token,
    run_with_client,
    server_option,
    token_option,
)
from asciid.client import ProblemError
from asciid.runtime.text import reason_of

if TYPE_CHECKING:
    from pathlib import Path

    from asciid.cli._dependencies import Dependencies
    from asciid.cli._server import Target
    from asciid.client import Client
    from asciid.runtime.reactor import Reactor

__all__ = ["rm_command"]

_RM_HELP = f"""
Delete images, given by their SHA-256 or their URL.

The first 12 digits of a SHA-256 are enough. It requires the edit key that asciid put
saved when it uploaded the image, or a token. An image that cannot be deleted does not
stop the deletion of the others; the exit code is that of the first.

{EXIT_CODES}
\b
Examples:
  asciid rm d25f...
  asciid rm --token-file ~/.asciid d25f...
  ASCIID_TOKEN=$(pass asciid) asciid rm http://localhost:4444/image/d25f...
"""


@click.command("rm", help=_RM_HELP)
@click.argument(
    "images", metavar="SHA|URL...", type=TargetType(), nargs=-1, required=True
)
@server_option
@token_option
@edit_key_option
@click.pass_obj
def rm_command(
    dependencies: Dependencies,
    *,
    images: tuple[Target, ...],
    server: str,
    token_file: Path | None,
    edit_key_file: Path | None,
) -> int:
    """Delete images; return the exit code."""
    token = read_token(token_file)
    server, *others = dict.fromkeys(image.server or server for image in images)
    if others:
        message = "all images must be on one server"
        raise click.UsageError(message)
    if edit_key_file is not None and len({image.name for image in images}) > 1:
        message = "--edit-key-file is of one image"
        raise click.UsageError(message)
    editing = Editing(server, edit_key_file)

    async def main(client: Client, _reactor: Reactor) -> int:
        code = 0
        for image in images:
            try:
                await _delete(client, image, editing)
            except (ProblemError, click.ClickException, OSError) as error:
                # The others may well succeed, unless the server does not respond.
                code = code or _code_of(error)
                message = f"asciid: {image.name}: {reason_of(error)}"
                click.echo(one_line(message), err=True)
        return code

    return run_with_client(dependencies, server, main, token=token)


async def _delete(client: Client, image: Target, editing: Editing) -> None:
    sha256 = await image.resolve(client)
    await editing.edit(
        client, sha256, lambda edit_key: client.delete(sha256, edit_key=edit_key)
    )
    editing.forget(sha256)


def _code_of(error: Exception) -> int:
    if isinstance(error, click.ClickException):
        return error.exit_code
    return exit_code(error)
