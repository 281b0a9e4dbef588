"""Options and error handling of the commands on a storage directory."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asciid.cli._reporting import os_error_text
from asciid.config.values import MEMORY, parse_size
from asciid.errors import AsciidError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "EXAMPLES",
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


def _on_disk(_: click.Context, __: click.Parameter, storage: Path) -> Path:
    if str(storage) == MEMORY:
        message = f"images in {MEMORY} are not on disk"
        raise click.BadParameter(message)
    return storage


storage_option = click.option(
    "--storage",
    type=click.Path(path_type=Path),
    callback=_on_disk,
    envvar="ASCIID_STORAGE",
    default="asciid-storage",
    show_envvar=True,
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
        raise click.ClickException(os_error_text(error)) from error
