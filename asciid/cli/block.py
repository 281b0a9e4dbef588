"""``asciid block``, ``asciid unblock`` and ``asciid blocked``: moderation."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from asciid.admin import storage as admin
from asciid.cli._reporting import report
from asciid.cli._server import HashType
from asciid.cli._storage_options import (
    EXAMPLES,
    json_option,
    readable_errors,
    storage_option,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from asciid.config.settings import DatabaseURL

__all__ = ["block_command", "blocked_command", "unblock_command"]

CommandT = TypeVar("CommandT", bound="Callable[..., Any]")

_BLOCK_HELP = f"""
Remove an image, given by its SHA-256 or its URL, and refuse it from now on.

A daemon may be running; once the command ends, no process of it serves the image, and
within a second no daemon on the same database does.
Readers get 451, uploads 403, both with the reason. The image need not be stored. A hash
that is blocked already gets the new reason. The whole SHA-256 is required: asciid about
prints it for a link.

The exit code is 0 if the hash is blocked, 1 if the storage is unusable, 2 if the
options are wrong.

{EXAMPLES}
  asciid block --storage /var/lib/asciid d25f... --reason "Court order 5/26"
"""

_UNBLOCK_HELP = f"""
Accept an image, given by its SHA-256 or its URL, again.

It has to be uploaded again. The whole SHA-256 is required: asciid blocked prints it.

The exit code is 0 if the hash was blocked, 1 if it was not or the storage is unusable,
2 if the options are wrong.

{EXAMPLES}
  asciid unblock --storage /var/lib/asciid d25f...
"""

_BLOCKED_HELP = f"""
List the blocked hashes in order, each with the date and the reason.

The exit code is 0, 1 if the storage is unusable, 2 if the options are wrong.

{EXAMPLES}
  asciid blocked --storage /var/lib/asciid
"""


def _image_argument(printed_by: str) -> Callable[[CommandT], CommandT]:
    return click.argument("sha256", metavar="SHA|URL", type=HashType(printed_by))


@click.command("block", help=_BLOCK_HELP)
@_image_argument("asciid about")
@click.option(
    "--reason",
    required=True,
    help="Reason shown to clients and logged: one line of at most 500 bytes.",
)
@storage_option
@json_option
def block_command(
    *, sha256: str, reason: str, storage: Path | DatabaseURL, as_json: bool
) -> int:
    """Block an image; return the exit code."""
    with readable_errors():
        try:
            removed = admin.block(storage, sha256, reason)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    if as_json:
        done = {"sha256": sha256, "reason": reason, "removed": removed}
        report(json.dumps(done))
    else:
        report(f"{sha256} blocked{'' if removed else '; it was not stored'}")
    return 0


@click.command("unblock", help=_UNBLOCK_HELP)
@_image_argument("asciid blocked")
@storage_option
@json_option
def unblock_command(*, sha256: str, storage: Path | DatabaseURL, as_json: bool) -> int:
    """Unblock an image; return the exit code."""
    with readable_errors():
        unblocked = admin.unblock(storage, sha256)
    if as_json:
        report(json.dumps({"sha256": sha256, "unblocked": unblocked}))
    else:
        report(f"{sha256} {'unblocked' if unblocked else 'is not blocked'}")
    return 0 if unblocked else 1


@click.command("blocked", help=_BLOCKED_HELP)
@storage_option
@json_option
def blocked_command(*, storage: Path | DatabaseURL, as_json: bool) -> int:
    """List blocked hashes; return the exit code."""
    found: list[dict[str, Any]] = []
    with readable_errors():
        for each in admin.blocked(storage):
            since = datetime.fromtimestamp(each["since"] / 1000, UTC)
            date = since.isoformat(timespec="seconds")
            if as_json:
                found.append({**each, "since": date})
            else:
                click.echo(f"{each['sha256']} {date} {each['reason']}")
    if as_json:
        click.echo(json.dumps({"blocked": found}))
    return 0
