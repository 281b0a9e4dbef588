"""
docs/client.md, made of what ``--help`` says.

``python -P -m asciid.cli.manual > docs/client.md`` makes it anew.
"""

from __future__ import annotations

import click

from asciid.cli.main import asciid, load_command

__all__ = ["manual"]

_WIDTH = 88

_HEAD = """# The asciid command

What `asciid --help` and the `--help` of each command say, in one place; it is made
by `python -P -m asciid.cli.manual > docs/client.md`.

`pip install 'asciid[client]'` has all that the commands for images need, the bar
and https included; `'asciid[simulate]'` is for `asciid simulate`.
`asciid completion` has a shell complete the command line.

| exit code | what it means |
|---|---|
| 0 | All went well. |
| 1 | Something failed; a later try may succeed. |
| 2 | The command line is wrong. |
| 3 | The server does not have the image. |
| 4 | The server refused the request. |
| 130 | It was interrupted, as Ctrl-C does (SIGINT). |
| 143 | It was terminated (SIGTERM). |
"""


def manual() -> str:
    """Return the text of docs/client.md: Markdown."""
    root = click.Context(
        asciid, info_name="asciid", terminal_width=_WIDTH, **asciid.context_settings
    )
    parts = [_HEAD, _section(asciid, root)]
    for name in asciid.list_commands(root):
        command = load_command(name)
        parts.append(_section(command, click.Context(command, root, name)))
    return "\n".join(parts)


def _section(command: click.Command, ctx: click.Context) -> str:
    return f"## {ctx.command_path}\n\n```\n{command.get_help(ctx)}\n```\n"


if __name__ == "__main__":
    click.echo(manual(), nl=False)
