"""``asciid migrate``: creates or upgrades the tables of a database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from asciid.admin import database
from asciid.cli._reporting import report
from asciid.cli._storage_options import (
    EXAMPLES,
    json_option,
    readable_errors,
    storage_option,
)
from asciid.config.settings import DatabaseURL

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["migrate_command"]

_HELP = f"""
Create the tables of a PostgreSQL database, or bring them to this release's version.

Daemons refuse a database that needs it. It does nothing if there is nothing to do, and
two at once wait for each other. All is done in one transaction: if it fails, nothing
has changed. A storage directory needs no migration.

The exit code is 0 on success, 1 if it failed, 2 if the options are wrong.

{EXAMPLES}
  asciid migrate --storage postgresql://asciid@db1.example/asciid
"""


@click.command("migrate", help=_HELP)
@storage_option
@json_option
def migrate_command(*, storage: Path | DatabaseURL, as_json: bool) -> int:
    """Migrate a database; return the exit code."""
    if not isinstance(storage, DatabaseURL):
        message = f"{storage} is a storage directory, which needs no migration"
        report(json.dumps({"migrated": False}) if as_json else message)
        return 0
    with readable_errors():
        before, after = database.migrate(storage)
    if as_json:
        done = {"migrated": before != after, "before": before, "version": after}
        report(json.dumps(done))
    elif before == after:
        report(f"{storage} has schema version {after} already")
    elif before:
        report(f"{storage}: schema version {before} migrated to {after}")
    else:
        report(f"{storage}: created the tables, schema version {after}")
    return 0
