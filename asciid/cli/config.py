"""``asciid config``: the settings in force, and where they are from."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from asciid import __version__
from asciid.cli._storage_options import EXAMPLES, json_option
from asciid.config.settings import (
    SETTINGS,
    SettingError,
    Source,
    find_in_force,
    service_links_in,
)
from asciid.config.values import NONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from asciid.config.settings import InForce

__all__ = ["config_command"]

_LONGEST_NUMBER = 18
"""Digits that fit into the integers of TOML."""

_HELP = f"""
Print the settings that twistd asciid would use here, and where each is from.

It takes the options of twistd asciid and the same environment. What is printed is
a configuration file: --config takes it. Nothing is opened but the file that
--config or ASCIID_CONFIG names.

The exit code is 0 if all settings can be used, and 2 if not; one line then says
what is wrong, and where.

{EXAMPLES}
  asciid config --show
  asciid config --check --config /etc/asciid.toml
  asciid config --port 80 > asciid.toml
"""


def _daemon_options(command: Callable[..., int]) -> Callable[..., int]:
    """Let `command` take the options of the daemon."""
    for setting in reversed(SETTINGS):
        command = click.option(
            f"--{setting.option}",
            setting.name,
            is_flag=setting.flag,
            default=False if setting.flag else None,
            show_default=False,
            metavar=None if setting.flag else "TEXT",
            help=setting.help,
        )(command)
    return command


@click.command("config", help=_HELP)
@click.option(
    "--show/--check",
    default=True,
    help="Print the settings, or only tell whether they can be used.",
)
@json_option
@_daemon_options
def config_command(*, show: bool, as_json: bool, **options: str | None) -> int:
    """Show or check the settings; return the exit code."""
    given: dict[str, str | None] = {
        setting.option: ("yes" if options[setting.name] else None)
        if setting.flag
        else options[setting.name]
        for setting in SETTINGS
    }
    try:
        in_force = find_in_force(given, os.environ)
    except SettingError as error:
        raise click.UsageError(str(error)) from error
    for variable in service_links_in(os.environ):
        message = f"asciid: ignored {variable}: set by Kubernetes for a Service"
        click.echo(message, err=True)
    if show:
        click.echo(_as_json(in_force) if as_json else "\n".join(_as_toml(in_force)))
    return 0


def _as_json(in_force: Sequence[InForce]) -> str:
    return json.dumps(
        {
            row.setting.option: {
                "value": _typed(row),
                "source": row.source,
                "place": row.place,
            }
            for row in in_force
        }
    )


def _as_toml(in_force: Sequence[InForce]) -> Iterator[str]:
    """Yield the lines of a configuration file."""
    config, *settings = in_force
    yield f"# The settings in force of asciid {__version__}, and where each is from."
    if config.value is not None:
        yield f"# The file is {json.dumps(config.text)}, named by {config.place}."
    yield ""
    for row in settings:
        _check_is_text(row)
        place = row.source if row.source in (Source.FILE, Source.DEFAULT) else row.place
        yield f"{row.setting.option} = {_toml(_typed(row))}  # {place}"


def _check_is_text(row: InForce) -> None:
    """Raise :exc:`click.ClickException` for what no configuration file can hold."""
    try:
        row.text.encode()
    except UnicodeEncodeError as error:
        message = (
            f"{row.place}: {row.text!r} is not UTF-8, as a file must be: use --json"
        )
        raise click.ClickException(message) from error


def _typed(row: InForce) -> bool | int | str | list[str]:
    """Return what a configuration file would have for the text of a setting."""
    text = row.text
    if row.setting.flag:
        return bool(row.value)
    if row.setting.many:
        return [] if text == NONE else [item.strip() for item in text.split(",")]
    if text.isdecimal() and len(text) <= _LONGEST_NUMBER and str(int(text)) == text:
        return int(text)
    return text


def _toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case list():
            return f"[{', '.join(map(_quoted, value))}]"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    """Return a string of TOML; it is that of JSON but for one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
