"""``asciid status``: prints the upload status of an image."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from asciid.cli._exit_codes import EXIT_CODES
from asciid.cli._server import TargetType, run_with_client, server_option
from asciid.model import ImageState

if TYPE_CHECKING:
    from asciid.cli._dependencies import Dependencies
    from asciid.cli._server import Target
    from asciid.client import Client
    from asciid.model import UploadStatus
    from asciid.runtime.reactor import Reactor

__all__ = ["status_command"]

_STATUS_HELP = f"""
Print the upload status of an image, given by its SHA-256 or its URL.

The first 12 digits of the SHA-256 are enough.

{EXIT_CODES}
\b
Examples:
  asciid status d25f44c31340f2c8433cb76e4f60a310683cab519116e23ef68eb68d198c63d0
  asciid status --json d25f... | jq .missing
"""


@click.command("status", help=_STATUS_HELP)
@click.argument("image", metavar="SHA|URL", type=TargetType())
@server_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object instead of text."
)
@click.pass_obj
def status_command(
    dependencies: Dependencies, *, image: Target, server: str, as_json: bool
) -> int:
    """Print the status of an image; return the exit code."""

    async def main(client: Client, _reactor: Reactor) -> int:
        status = await client.status(await image.resolve(client))
        click.echo(json.dumps(_report(status)) if as_json else _sentence(status))
        return 0

    return run_with_client(dependencies, image.server or server, main)


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _report(status: UploadStatus) -> dict[str, object]:
    spec = status.spec
    return {
        "sha256": spec.sha256,
        "state": status.state.value,
        "size": spec.size,
        "chunk_size": spec.chunk_size,
        "chunks": spec.chunks,
        "received": status.received,
        "missing": status.missing,
        "missing_cut": status.missing_cut,
        "created": _moment(status.created),
        "completed": _moment(status.completed),
        "expires": _moment(status.expires),
    }


def _sentence(status: UploadStatus) -> str:
    spec = status.spec
    if status.state is ImageState.COMPLETE:
        completed = ""
        if status.completed is not None:
            completed = f", completed {_moment(status.completed)}"
        registered = f"registered {_moment(status.created)}"
        return f"complete: {spec.size} bytes, {registered}{completed}"
    missing = sum(last - first + 1 for first, last in status.missing)
    more = "at least " if status.missing_cut else ""
    until = ""
    if status.expires is not None:
        until = f"; expires at {_moment(status.expires)} unless more chunks arrive"
    return (
        f"pending: {status.received} of {spec.size} bytes; "
        f"{more}{missing} of {spec.chunks} chunks missing{until}"
    )
