"""``asciid rm``: deletes images from the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

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

Requires a token.

{EXIT_CODES}
\b
Examples:
  asciid rm --token-file ~/.asciid d25f...
  ASCIID_TOKEN=$(pass asciid) asciid rm http://localhost:4444/image/d25f...
"""


@click.command("rm", help=_RM_HELP)
@click.argument(
    "images", metavar="SHA|URL...", type=TargetType(), nargs=-1, required=True
)
@server_option
@token_option
@click.pass_obj
def rm_command(
    dependencies: Dependencies,
    *,
    images: tuple[Target, ...],
    server: str,
    token_file: Path | None,
) -> int:
    """Delete images; return the exit code."""
    token = read_token(token_file)
    servers = {image.server or server for image in images}
    if len(servers) > 1:
        message = "all images must be on one server"
        raise click.UsageError(message)

    async def main(client: Client, _reactor: Reactor) -> int:
        for image in images:
            await client.delete(image.sha256)
        return 0

    return run_with_client(dependencies, servers.pop(), main, token=token)
