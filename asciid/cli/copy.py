"""``asciid copy``: copies one storage to another."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click
from attrs import define, field

from asciid.admin.storage_copy import copy_storage
from asciid.cli._bar import can_show
from asciid.cli._reporting import report
from asciid.cli._storage_options import EXAMPLES, json_option, readable_errors
from asciid.config.settings import DatabaseURL
from asciid.config.values import MEMORY, storage_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["copy_command"]

_HELP = f"""
Copy everything in the storage SOURCE to the storage TARGET.

Each is a directory whose daemon is stopped, or the postgresql:// URL of a database that
asciid migrate has prepared. A target directory that does not exist is created. Copied
are complete images, pending uploads with their chunks, what is stored beside both
(times, about records, edit keys), blocked hashes, and the records of expired images.
Images in quarantine are not. The source stays as it is.

The target may have images: what it has stays. The hash of each image is checked before
it is added, and in the end both storages are compared. An image that is damaged in the
source, or that the target has otherwise, is printed and not copied.

After an interruption, the same command continues: it skips what was copied.

The exit code is 0 if the target has everything that the source has, 1 if something was
not copied or a storage is unusable, 2 if the options are wrong.

{EXAMPLES}
  asciid copy /var/lib/asciid /mnt/new/asciid
  asciid copy /var/lib/asciid postgresql://asciid@db1.example/asciid
"""

_REFRESH = 0.1
"""Seconds between two updates of the progress."""


def _storage(_: click.Context, __: click.Parameter, text: str) -> Path | DatabaseURL:
    try:
        storage = storage_of(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if storage is None:
        message = f"images in {MEMORY} are not on disk"
        raise click.BadParameter(message)
    if isinstance(storage, DatabaseURL) and storage.has_secret:
        message = (
            "password on the command line, where other users can read it: use "
            "PGPASSWORD, PGPASSFILE or a service file"
        )
        raise click.BadParameter(message)
    return storage


@click.command("copy", help=_HELP)
@click.argument("source", callback=_storage)
@click.argument("target", callback=_storage)
@json_option
def copy_command(
    *, source: Path | DatabaseURL, target: Path | DatabaseURL, as_json: bool
) -> int:
    """Copy a storage; return the exit code."""
    kinds: dict[str, list[dict[str, str]]] = {"damaged": [], "different": []}
    line = _ProgressLine(shown=can_show())

    def found(kind: str, sha256: str, reason: str) -> None:
        kinds[kind].append({"sha256": sha256, "reason": reason})
        if not as_json:
            line.erase()
            report(f"{sha256}: {reason}")

    with readable_errors():
        try:
            done = copy_storage(source, target, found, line.update)
        finally:
            line.erase()
    if as_json:
        names = {"source": str(source), "target": str(target)}
        report(json.dumps({**names, **done, **kinds}))
    else:
        damaged, different = (len(each) or "none" for each in kinds.values())
        report(
            f"{done['images']} images, {done['pending']} pending uploads, "
            f"{done['blocked']} blocked hashes: {done['copied']} copied now, "
            f"{done['bytes']} bytes; {damaged} damaged, {different} different"
        )
    return 1 if any(kinds.values()) else 0


@define
class _ProgressLine:
    """A line on standard error that counts uploads, if it is `shown`."""

    shown: bool
    monotonic: Callable[[], float] = time.monotonic
    _due: float = field(init=False, default=0.0)

    def update(self, step: str, done: int, total: int) -> None:
        """Show the progress, unless that was just done."""
        if self.shown and self.monotonic() >= self._due:
            self._due = self.monotonic() + _REFRESH
            click.echo(f"\r\x1b[2K{step}: {done} of {total}", nl=False, err=True)

    def erase(self) -> None:
        """Erase the line."""
        if self.shown:
            click.echo("\r\x1b[2K", nl=False, err=True)
