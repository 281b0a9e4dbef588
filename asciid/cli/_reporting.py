"""Prints the results of commands."""

from __future__ import annotations

import os

import click

from asciid.cli._filter import one_line
from asciid.runtime.text import reason_of

__all__ = ["report"]


def report(text: str, *, nl: bool = True) -> None:
    """
    Print a result, followed by a newline if `nl`.

    If standard output fails, the command has succeeded all the same: a line on standard
    error has the reason and `text`.  Not for commands whose purpose is their output.
    """
    try:
        # os.fsencode: file names need not be valid UTF-8.
        click.echo(text if _is_text(text) else os.fsencode(text), nl=nl)
    except OSError as error:
        why = reason_of(error)
        message = f"asciid: cannot write to standard output: {why}: {text}"
        click.echo(one_line(message), err=True)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
