"""Options and error handling of the commands on a storage."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from asciid.config.settings import STORAGE, DatabaseURL, SettingError, Source
from asciid.config.values import MEMORY, parse_size
from asciid.errors import AsciidError
from asciid.runtime.text import reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "EXAMPLES",
    "directory_option",
    "json_option",
    "rate_option",
    "readable_errors",
    "storage_option",
]

EXAMPLES = "\b\nExamples:"
"""Starts the paragraph of a help text that is not wrapped."""

_LARGEST_RATE = 2**40


def _rate(_: click.Context, __: click.Parameter, text: str) -> int:
    try:
        return parse_size(text, _LARGEST_RATE, smallest=0)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _storage(
    context: click.Context, parameter: click.Parameter, text: str
) -> Path | DatabaseURL:
    given = context.get_parameter_source(str(parameter.name))
    is_variable = given is ParameterSource.ENVIRONMENT
    source = Source.ENVIRONMENT if is_variable else Source.OPTION
    try:
        storage = STORAGE.choose({source: text}).parse().value
    except SettingError as error:
        raise click.UsageError(str(error), context) from error
    if storage is None:
        message = f"images in {MEMORY} are not on disk"
        raise click.BadParameter(message)
    stored: Path | DatabaseURL = storage
    return stored


def _directory(context: click.Context, parameter: click.Parameter, text: str) -> Path:
    storage = _storage(context, parameter, text)
    if isinstance(storage, DatabaseURL):
        message = (
            f"asciid {context.info_name} works on a storage directory; that of a "
            "database is PostgreSQL's own: see docs/cluster.md"
        )
        raise click.UsageError(message, context)
    return storage


storage_option = click.option(
    "--storage",
    type=click.UNPROCESSED,
    callback=_storage,
    envvar="ASCIID_STORAGE",
    default="asciid-storage",
    show_envvar=True,
    metavar="PATH|URL",
    help="Storage directory, or postgresql:// URL of a database.",
)

directory_option = click.option(
    "--storage",
    type=click.UNPROCESSED,
    callback=_directory,
    envvar="ASCIID_STORAGE",
    default="asciid-storage",
    show_envvar=True,
    metavar="PATH",
    help="Storage directory.",
)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object instead of text."
)

rate_option = click.option(
    "--rate",
    callback=_rate,
    metavar="BYTES",
    default="32M",
    help="Maximum bytes read per second, or with K, M or G; 0: unlimited.",
)


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn the errors of a storage into one line and exit code 1."""
    try:
        yield
    except AsciidError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(reason_of(error)) from error
