"""``asciid completion``: prints shell completion scripts."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

__all__ = ["completion_command"]

_SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}

_HELP = """
Print a shell completion script for asciid.

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
    """Print a shell completion script; return the exit code."""
    root = ctx.find_root()
    complete = _SHELLS[shell](root.command, {}, "asciid", "_ASCIID_COMPLETE")
    click.echo(complete.source())
    return 0
