"""``asciid rm``: deletes images from the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from asciid.cli._editing import Editing, edit_key_option
from asciid.cli._exit_codes import EXIT_CODES
from asciid.cli._server import (
    TargetType,
    read_token,
    run_with_client,
    server_option,
    token_option,
)

if TYPE_CHECKING:
    from pathlib import Path

    from asciid.cli._dependencies import Dependencies
    from asciid.cli._server import Target
    from asciid.client import Client
    from asciid.runtime.reactor import Reactor

__all__ = ["rm_command"]

_RM_HELP = f"""
Delete images, given by their SHA-256 or their URL.

The first 12 digits of a SHA-256 are enough.

It requires the edit key that asciid put saved when it uploaded the image, or a token.

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
        for image in images:
            sha256 = await image.resolve(client)
            edit_key = editing.edit_key(sha256)
            with editing.of(sha256):
                await client.delete(sha256, edit_key=edit_key)
            editing.forget(sha256)
        return 0

    return run_with_client(dependencies, server, main, token=token)
