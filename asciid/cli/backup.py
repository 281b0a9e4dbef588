"""``asciid backup``: a copy while the daemon runs."""

from __future__ import annotations

import json
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asciid.admin.owner import on_storage
from asciid.admin.pace import Pace
from asciid.cli._reporting import report
from asciid.cli._storage_options import (
    EXAMPLES,
    json_option,
    rate_option,
    readable_errors,
    storage_option,
)
from asciid.engines.lmdb.maintenance import DATA_FILE, backup

if TYPE_CHECKING:
    from asciid.admin.owner import Owner
    from asciid.engines.lmdb.maintenance import StorageFile

__all__ = ["backup_command"]

_PIECE = 1024 * 1024
"""Bytes that are read at a time."""

_HELP = f"""
Copy the storage to the new directory DEST.

A daemon may be running, in another container, too; the copy has what was stored at
one moment. Every image in it is read and checked, and it is synced, before it gets its
name. The files belong to the user who runs this. To restore it, start a daemon with
--storage DEST.

The exit code is 0 once the copy is complete, 1 if it could not be made, of which
nothing is left then, 2 if the options are wrong.

{EXAMPLES}
  asciid backup --storage /var/lib/asciid /backups/asciid-monday
"""


@click.command("backup", help=_HELP)
@click.argument("destination", metavar="DEST", type=click.Path(path_type=Path))
@storage_option
@rate_option
@json_option
def backup_command(
    *, destination: Path, storage: Path, rate: int, as_json: bool
) -> int:
    """Make a backup; return the exit code."""
    with readable_errors():
        images, size = _backed_up(storage, destination, Pace(rate))
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


def _backed_up(storage: Path, destination: Path, pace: Pace) -> tuple[int, int]:
    """Make a backup; return how many images it has, and how many bytes."""

    def alone(opened: StorageFile) -> tuple[int, int]:
        return backup(opened.copy, destination, pace)

    def asked(owner: Owner) -> tuple[int, int]:
        return backup(partial(_receive, owner), destination, pace)

    return on_storage(storage, "asciid backup", alone, asked)


def _receive(owner: Owner, work: Path) -> None:
    """Have the owner send its data file, and write it to the directory `work`."""
    source, sink = socket.socketpair()
    with source, (work / DATA_FILE).open("xb", buffering=0) as file:
        with sink:
            owner.ask("backup", sink.fileno())
        while data := source.recv(_PIECE):
            file.write(data)
    owner.answer()
