"""The ``asciid`` command: a group of commands, each imported when called."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click

from asciid import __version__
from asciid.cli._dependencies import Dependencies
from asciid.cli._exit_codes import FAILED, INTERRUPTED
from asciid.cli._filter import one_line
from asciid.runtime.streams import discard_unwritten_output, open_command_streams
from asciid.runtime.text import reason_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["asciid", "load_command", "main"]

_MODULES = {
    "about": "describe",
    "backup": "backup",
    "block": "block",
    "blocked": "block",
    "cat": "get",
    "compact": "compact",
    "completion": "completion",
    "config": "config",
    "copy": "copy",
    "get": "get",
    "ls": "ls",
    "migrate": "migrate",
    "open": "browse",
    "put": "put",
    "rm": "rm",
    "simulate": "simulate",
    "status": "status",
    "unblock": "block",
    "verify": "verify",
}
"""The module of each command."""


def load_command(name: str) -> click.Command:
    """Import a command; raises :exc:`KeyError` if there is no such command."""
    module = import_module(f"asciid.cli.{_MODULES[name]}")
    command: click.Command = getattr(module, f"{name}_command")
    return command


class _Commands(click.Group):
    """Imports a command when it is called, and all of them for the help."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        try:
            return load_command(cmd_name)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)  # without one click prints an empty line


@click.group(
    cls=_Commands, context_settings={"show_default": True}, no_args_is_help=False
)
@click.version_option(__version__, prog_name="asciid")
def asciid() -> None:
    """Share ASCII art through an asciid server, and maintain its storage."""


def main(
    args: Sequence[str] | None = None, dependencies: Dependencies | None = None
) -> None:
    """
    Run the command in `args` (by default the program's arguments), then exit.

    The exit codes are those of `asciid.cli._exit_codes`, and 2 for wrong `args`.
    Raises :exc:`SystemExit`, always.
    """
    open_command_streams()
    try:
        code = asciid.main(
            args=args,
            prog_name="asciid",
            standalone_mode=False,
            obj=dependencies or Dependencies(),
        )
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "asciid"
        message = f"{command}: {error.format_message()} (try {command} --help)"
        click.echo(one_line(message), err=True)
        code = error.exit_code
    except click.ClickException as error:
        click.echo(one_line(f"asciid: {error.format_message()}"), err=True)
        code = error.exit_code
    except click.Abort:
        code = INTERRUPTED
    except OSError as error:
        click.echo(one_line(f"asciid: {reason_of(error)}"), err=True)
        code = FAILED
    discard_unwritten_output()
    sys.exit(code)
