"""``asciid completion``: has a shell complete the command line."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

__all__ = ["completion_command"]

_SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}

_HELP = """
Print what has a shell complete asciid's commands and options.

\b
Examples:
  asciid completion bash > ~/.local/share/bash-completion/completions/asciid
  asciid completion zsh > ~/.zfunc/_asciid
  asciid completion fish > ~/.config/fish/completions/asciid.fish
"""


@click.command("completion", help=_HELP)
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> int:
    """Print a shell's completion script; return the exit code."""
    root = ctx.find_root()
    complete = _SHELLS[shell](root.command, {}, "asciid", "_ASCIID_COMPLETE")
    click.echo(complete.source())
    return 0
