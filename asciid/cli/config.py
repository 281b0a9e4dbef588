"""``asciid config``: prints and checks the effective settings."""

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
    find_effective,
    ineffective,
    service_links_in,
)
from asciid.config.values import NONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from asciid.config.settings import EffectiveSetting

__all__ = ["config_command"]

_LONGEST_NUMBER = 18
"""Maximum digits of an integer in TOML, which has 64 bits."""

_HELP = f"""
Print the effective settings of twistd asciid, and the source of each.

It takes the options and the environment variables of twistd asciid. The output is a
configuration file for --config. No file is opened but the one that --config or
ASCIID_CONFIG names.

The exit code is 0 if all settings are valid, 2 if not; one line then names the
invalid setting, its source and the reason.

{EXAMPLES}
  asciid config --show
  asciid config --check --config /etc/asciid.toml
  asciid config --port 80 > asciid.toml
"""


def _daemon_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options of the daemon to `command`."""
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
    help="Print the settings, or only check that they are valid.",
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
        effective = find_effective(given, os.environ)
    except SettingError as error:
        raise click.UsageError(str(error)) from error
    for variable in service_links_in(os.environ):
        message = f"asciid: ignored {variable}: set by Kubernetes for a Service"
        click.echo(message, err=True)
    for line in ineffective(effective):
        click.echo(f"asciid: {line}", err=True)
    if show:
        click.echo(_as_json(effective) if as_json else "\n".join(_as_toml(effective)))
    return 0


def _as_json(effective: Sequence[EffectiveSetting]) -> str:
    return json.dumps(
        {
            row.setting.option: {
                "value": _typed(row),
                "source": row.source,
                "place": row.place,
            }
            for row in effective
        }
    )


def _as_toml(effective: Sequence[EffectiveSetting]) -> Iterator[str]:
    """Yield the lines of a configuration file."""
    config, *settings = effective
    yield f"# The effective settings of asciid {__version__}, and the source of each."
    if config.value is not None:
        yield f"# File: {json.dumps(config.text)}, named by {config.place}."
    yield ""
    for row in settings:
        _check_is_text(row)
        place = row.source if row.source in (Source.FILE, Source.DEFAULT) else row.place
        hidden = "" if row.shown == row.text else ", password hidden"
        yield f"{row.setting.option} = {_toml(_typed(row))}  # {place}{hidden}"


def _check_is_text(row: EffectiveSetting) -> None:
    """Raise :exc:`click.ClickException` for a value that is not valid in TOML."""
    try:
        row.text.encode()
    except UnicodeEncodeError as error:
        message = (
            f"{row.place}: {row.text!r} is not UTF-8, which TOML requires: use --json"
        )
        raise click.ClickException(message) from error


def _typed(row: EffectiveSetting) -> bool | int | str | list[str]:
    """Return the value of a setting for a configuration file."""
    text = row.shown
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
    """Return a TOML string: as in JSON, but DEL must be escaped, too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
