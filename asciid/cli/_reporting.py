"""Prints the results of commands."""

from __future__ import annotations

import os

import click

from asciid.cli._filter import one_line

__all__ = ["os_error_text", "report"]


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
        message = f"asciid: cannot write to standard output: {error.strerror}: {text}"
        click.echo(one_line(message), err=True)


def os_error_text(error: OSError) -> str:
    """Return the reason of `error`, preceded by the name of its file if it has one."""
    reason = error.strerror or str(error)
    return reason if error.filename is None else f"{error.filename}: {reason}"


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
