"""The ``asciid`` command: a group of commands, one module each."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from asciid import __version__
from asciid.cli._filter import one_line
from asciid.cli._reporting import os_error_text
from asciid.cli._run import INTERRUPTED
from asciid.cli._server import EXIT_FAILED
from asciid.cli.backup import backup_command
from asciid.cli.compact import compact_command
from asciid.cli.completion import completion_command
from asciid.cli.config import config_command
from asciid.cli.get import cat_command, get_command
from asciid.cli.put import put_command
from asciid.cli.simulate import Surroundings, simulate
from asciid.cli.status import rm_command, status_command
from asciid.cli.verify import verify_command
from asciid.runtime.streams import discard_unwritten_output, open_command_streams

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["asciid", "main"]


@click.group(context_settings={"show_default": True}, no_args_is_help=False)
@click.version_option(__version__, prog_name="asciid")
def asciid() -> None:
    """Share ASCII art through an asciid server, and look after its storage."""


for _command in (
    backup_command,
    cat_command,
    compact_command,
    completion_command,
    config_command,
    get_command,
    put_command,
    rm_command,
    simulate,
    status_command,
    verify_command,
):
    asciid.add_command(_command)


def main(
    args: Sequence[str] | None = None, surroundings: Surroundings | None = None
) -> None:
    """
    Run the command that `args` (by default the program's) ask for, then exit.

    The exit code is 0 when it did what it should, 1 when not, 2 when `args`
    are wrong, 3 when there is no such image, 4 when the server refused, 130
    after an interrupt, 143 after SIGTERM.  Raises :exc:`SystemExit`, always.
    """
    open_command_streams()
    try:
        code = asciid.main(
            args=args,
            prog_name="asciid",
            standalone_mode=False,
            obj=surroundings or Surroundings(),
        )
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "asciid"
        message = f"{command}: {error.format_message()} ({command} --help tells more)"
        click.echo(one_line(message), err=True)
        code = error.exit_code
    except click.ClickException as error:
        click.echo(one_line(f"asciid: {error.format_message()}"), err=True)
        code = error.exit_code
    except click.Abort:
        code = INTERRUPTED
    except OSError as error:
        click.echo(one_line(f"asciid: {os_error_text(error)}"), err=True)
        code = EXIT_FAILED
    discard_unwritten_output()
    sys.exit(code)
