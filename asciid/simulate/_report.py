"""Writes the log and the results of a simulation."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from asciid.simulate._summary import summary

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import TextIO

    from twisted.internet.interfaces import IReactorTime

    from asciid.simulate._log import Sink
    from asciid.simulate._screen import Screen
    from asciid.simulate._simulation import Simulation

__all__ = ["Report"]


class _Lines:
    """Writes the log to a stream; reports the first error, and drops further lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._failed = False

    def write(self, text: str) -> None:
        """Write whole lines."""
        if not self._failed:
            self._attempt(lambda: self._stream.write(text))

    def flush(self) -> None:
        """Write buffered lines."""
        if not self._failed:
            self._attempt(self._stream.flush)

    def _attempt(self, call: Callable[[], object]) -> None:
        try:
            call()
        except OSError as error:
            self._failed = True
            message = f"asciid: cannot write the log: {error.strerror}"
            click.echo(message, err=True)


class Report:
    """
    Writes the log to standard output, with a live table if that is a terminal.

    At the end it prints the table on the terminal, or with `table` on standard error.
    With `as_json` it prints the results as one JSON object on standard output, and the
    log is on standard error.

    Without rich there is no live table, and `table` raises :exc:`click.ClickException`.
    """

    def __init__(self, clock: IReactorTime, *, table: bool, as_json: bool) -> None:
        self._as_json = as_json
        self._stream = sys.stderr if as_json else sys.stdout
        self._lines = _Lines(self._stream)
        self._screen: Screen | None = None
        on_terminal = self._stream.isatty()
        self._table = table or (on_terminal and not as_json)
        if not (on_terminal or table):
            return
        try:
            # Slow to import, so only if a table is shown.
            from asciid.simulate._screen import Screen, print_table  # noqa: PLC0415
        except ImportError:
            if table:
                message = "--table requires rich: pip install 'asciid[simulate]'"
                raise click.ClickException(message) from None
            self._table = False
            return
        self._print_table = print_table
        if on_terminal:
            self._screen = Screen(self._stream, clock)

    @property
    def sink(self) -> Sink:
        """The output of the log."""
        return self._screen or self._lines

    def showing(self, simulation: Simulation) -> AbstractContextManager[None]:
        """Show the progress of `simulation` during the context."""
        return self._screen.showing(simulation) if self._screen else nullcontext()

    def finish(self, simulation: Simulation, **more: object) -> None:
        """Print the results of `simulation`, in JSON with the members `more`."""
        (self._screen or self._lines).flush()
        if self._table:
            stream = self._stream if self._screen else sys.stderr
            self._print_table(simulation, stream)
        if self._as_json:
            click.echo(json.dumps({**more, **summary(simulation)}))
