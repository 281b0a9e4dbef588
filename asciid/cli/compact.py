"""``asciid compact``: returns free pages to the file system."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from asciid.admin import storage as admin
from asciid.cli._reporting import report
from asciid.cli._storage_options import (
    EXAMPLES,
    directory_option,
    json_option,
    readable_errors,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["compact_command"]

_HELP = f"""
Return the unused space of the storage file to the file system.

If a daemon is running, it compacts the storage itself: writes wait meanwhile, reads
continue. A copy is written beside the file, every image in it is read and checked, and
it replaces the file atomically. There must be room for both.

The exit code is 0 on success, 1 if it failed (the storage is unchanged then), 2 if
the options are wrong.

{EXAMPLES}
  asciid compact --storage /var/lib/asciid
"""


@click.command("compact", help=_HELP)
@directory_option
@json_option
def compact_command(*, storage: Path, as_json: bool) -> int:
    """Compact a storage; return the exit code."""
    with readable_errors():
        done = admin.compact(storage)
    if as_json:
        report(json.dumps(done))
    else:
        report(
            f"{done['images']} images: "
            f"{done['bytes_before']} bytes before, {done['bytes_after']} after"
        )
    return 0
