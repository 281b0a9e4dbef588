"""``asciid compact``: gives unused room back to the file system."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from asciid._reporting import report
from asciid.admin._daemon import NoDaemonError, ask_daemon
from asciid.admin._options import (
    EXAMPLES,
    json_option,
    readable_errors,
    storage_option,
)
from asciid.admin._pace import Pace
from asciid.store.maintenance import StorageInUseError, compact

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["compact_command"]

_HELP = f"""
Shrink the storage file to what is in it.

A daemon that uses the storage does it itself: writes wait meanwhile, reads go on.
Several of them cannot; stop all but one. A copy is made beside the file, every
image in it is read and checked, and only then it takes the file's place, in one
step. There must be room for both.

The exit code is 0 once that is done, 1 if it could not be, and the storage is as
it was then, 2 if the options are wrong.

{EXAMPLES}
  asciid compact --storage /var/lib/asciid
"""


@click.command("compact", help=_HELP)
@storage_option
@json_option
def compact_command(*, storage: Path, as_json: bool) -> int:
    """Compact a storage; return the exit code."""
    with readable_errors():
        done = _compacted(storage)
    if as_json:
        report(json.dumps(done))
    else:
        report(
            f"{done['images']} images: "
            f"{done['bytes_before']} bytes before, {done['bytes_after']} after"
        )
    return 0


def _compacted(storage: Path) -> dict[str, Any]:
    """Compact, or have the daemon do it; return the report."""
    try:
        return compact(storage, Pace(0)).report
    except StorageInUseError as in_use:
        try:
            return ask_daemon(storage, "compact")
        except NoDaemonError:
            raise in_use from None
