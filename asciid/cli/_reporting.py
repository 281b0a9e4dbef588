"""Prints what a command has done."""

from __future__ import annotations

import os

import click

from asciid.cli._filter import one_line

__all__ = ["os_error_text", "report"]


def report(text: str, *, nl: bool = True) -> None:
    """
    Print what a command has done, followed by a newline if `nl`.

    What is done is no failure because that cannot be printed: a line on standard error
    then says why, with `text`.  Where the text itself is what was asked for, this is
    not the function to use.
    """
    try:
        # In bytes: not every name is text.
        click.echo(text if _is_text(text) else os.fsencode(text), nl=nl)
    except OSError as error:
        message = f"asciid: cannot write to standard output: {error.strerror}: {text}"
        click.echo(one_line(message), err=True)


def os_error_text(error: OSError) -> str:
    """Return the reason of `error` after the name of its file, if it has one."""
    reason = error.strerror or str(error)
    return reason if error.filename is None else f"{error.filename}: {reason}"


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
