"""``asciid backup``: copies a storage while the daemon runs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from asciid.admin import storage as admin
from asciid.cli._reporting import report
from asciid.cli._storage_options import (
    EXAMPLES,
    directory_option,
    json_option,
    rate_option,
    readable_errors,
)

__all__ = ["backup_command"]

_HELP = f"""
Back up the storage to the new directory DEST.

A daemon may be running, also in another container; the copy is a snapshot. Every
image in it is read and checked, and the copy is synced, before it gets its name. The
files belong to the user who runs this command. To restore the backup, start a daemon
with --storage DEST.

The exit code is 0 if the copy is complete, 1 if it failed (nothing of it is left
then), 2 if the options are wrong.

{EXAMPLES}
  asciid backup --storage /var/lib/asciid /backups/asciid-monday
"""


@click.command("backup", help=_HELP)
@click.argument("destination", metavar="DEST", type=click.Path(path_type=Path))
@directory_option
@rate_option
@json_option
def backup_command(
    *, destination: Path, storage: Path, rate: int, as_json: bool
) -> int:
    """Make a backup; return the exit code."""
    with readable_errors():
        images, size = admin.back_up(storage, destination, rate)
    done = {
        "destination": str(destination.absolute()),
        "images": images,
        "bytes": size,
    }
    if as_json:
        report(json.dumps(done))
    else:
        report(f"{destination}: {images} images, {size} bytes")
    return 0
