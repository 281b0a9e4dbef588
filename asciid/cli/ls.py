"""``asciid ls``: lists the images of a server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from asciid.cli._exit_codes import EXIT_CODES
from asciid.cli._filter import one_line
from asciid.cli._server import run_with_client, server_option
from asciid.client import LostError

if TYPE_CHECKING:
    from asciid.cli._dependencies import Dependencies
    from asciid.client import Client, FoundImage
    from asciid.runtime.reactor import Reactor

__all__ = ["ls_command"]

_HELP = f"""
List the images of a server, the newest first.

Each line has the link, the time of completion in UTC, the size in bytes, and the title.
Unlisted images are never named.

{EXIT_CODES}
\b
Examples:
  asciid ls
  asciid ls -n 0 --json | jq -r .url
"""

_LARGEST_PAGE = 100


@click.command("ls", help=_HELP)
@server_option
@click.option(
    "-n",
    "--number",
    type=click.IntRange(min=0),
    default=50,
    help="Maximum number of images; 0: all.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per image and line."
)
@click.pass_obj
def ls_command(
    dependencies: Dependencies, *, server: str, number: int, as_json: bool
) -> int:
    """List images; return the exit code."""

    async def main(client: Client, _reactor: Reactor) -> int:
        left = number
        following = ""
        pages = {following}
        while True:
            limit = min(left, _LARGEST_PAGE) or _LARGEST_PAGE
            page = await client.listing(following, limit=limit)
            images = page.images[:left] if number else page.images
            for image in images:
                report = _report(client, image)
                click.echo(json.dumps(report) if as_json else _line(report))
            left -= len(images)
            following = page.following
            if not following or (number and left <= 0):
                return 0
            if following in pages:
                message = "invalid listing: it repeats a page"
                raise LostError(message)
            pages.add(following)

    return run_with_client(dependencies, server, main)


def _report(client: Client, image: FoundImage) -> dict[str, object]:
    expires = image.expires
    return {
        "sha256": image.sha256,
        "url": client.url(image.sha256),
        "link": client.link(image.sha256),
        "size": image.size,
        "completed": image.completed.isoformat(timespec="seconds"),
        "title": image.title,
        "description": image.description,
        "author": image.author,
        "licence": image.licence,
        "tags": image.tags,
        "expires": None if expires is None else expires.isoformat(timespec="seconds"),
    }


def _line(report: dict[str, object]) -> str:
    title = one_line(str(report["title"]))
    columns = (report["link"], report["completed"], f"{report['size']:>8}", title)
    return "  ".join(map(str, columns)).rstrip()
