"""``asciid about``: prints or changes what is said about an image."""

from __future__ import annotations

import json
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

import click

from asciid.cli._about_options import about_options
from asciid.cli._editing import Editing, edit_key_option
from asciid.cli._exit_codes import EXIT_CODES
from asciid.cli._filter import one_line
from asciid.cli._server import (
    TargetType,
    read_token,
    run_with_client,
    server_option,
    token_option,
)
from asciid.client import RefusedError

if TYPE_CHECKING:
    from pathlib import Path

    from asciid.cli._about_options import AboutOptions
    from asciid.cli._dependencies import Dependencies
    from asciid.cli._server import Target
    from asciid.client import Client, ImageAbout
    from asciid.runtime.reactor import Reactor

__all__ = ["about_command"]

_HELP = f"""
Print what is said about an image, given by its SHA-256 or its URL.

The first 12 digits of the SHA-256 are enough. With options, change what they name
first, and leave the rest as it is; an empty text removes a value. That requires the
edit key that asciid put saved when it uploaded the image, or a token.

{EXIT_CODES}
\b
Examples:
  asciid about d25f...
  asciid about --title 'A cat' --tag cat,small http://localhost:4444/image/d25f...
  asciid about --unlisted --expires 7d d25f...
"""

_ATTEMPTS = 3
"""Maximum attempts, if others change the same at the same time."""


@click.command("about", help=_HELP)
@click.argument("image", metavar="SHA|URL", type=TargetType())
@server_option
@token_option
@edit_key_option
@about_options
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object instead of text."
)
@click.pass_obj
def about_command(  # noqa: PLR0913 - one argument an option
    dependencies: Dependencies,
    *,
    image: Target,
    server: str,
    token_file: Path | None,
    edit_key_file: Path | None,
    as_json: bool,
    about: AboutOptions,
) -> int:
    """Print or change what is said about an image; return the exit code."""
    server = image.server or server
    token = read_token(token_file)
    editing = Editing(server, edit_key_file)

    async def main(client: Client, _reactor: Reactor) -> int:
        sha256 = await image.resolve(client)
        if about.said:
            await editing.edit(client, sha256, partial(_change, client, sha256, about))
        report = _report(client, sha256, await client.about(sha256))
        click.echo(json.dumps(report) if as_json else _text(report))
        return 0

    return run_with_client(dependencies, server, main, token=token)


async def _change(
    client: Client, sha256: str, options: AboutOptions, edit_key: str | None
) -> None:
    attempts = _ATTEMPTS
    while True:
        attempts -= 1
        stored = await client.about(sha256)
        fields = options.apply(stored.fields)
        try:
            await client.set_about(sha256, fields, etag=stored.etag, edit_key=edit_key)
        except RefusedError as error:
            # By another client, or by an attempt whose response was lost.
            changed = error.status == HTTPStatus.PRECONDITION_FAILED
            if not changed or not attempts:
                raise
        else:
            return


def _report(client: Client, sha256: str, about: ImageAbout) -> dict[str, object]:
    fields = about.fields
    return {
        "sha256": sha256,
        "url": client.url(sha256),
        "link": client.link(sha256),
        "title": fields.title,
        "description": fields.description,
        "author": fields.author,
        "licence": fields.licence,
        "tags": fields.tags,
        "listed": fields.listed,
        "expires": fields.expires or None,
        "charset": fields.charset,
    }


def _text(report: dict[str, object]) -> str:
    """Return a line for each member that is not empty, and for each further line."""
    lines = []
    for name, value in report.items():
        if isinstance(value, bool):
            text = "yes" if value else "no"
        elif isinstance(value, tuple):
            text = ", ".join(value)
        else:
            text = str(value or "")
        first, *others = map(one_line, text.splitlines() or [""])
        if text:
            lines += [f"{name}: {first}", *(f"  {line}" for line in others)]
    return "\n".join(lines)
