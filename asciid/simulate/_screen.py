"""The results of a simulation as a table, live on a terminal and at the end."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from twisted.internet.task import LoopingCall

from asciid.simulate._summary import summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.internet.interfaces import IReactorTime

    from asciid.simulate._simulation import Simulation

__all__ = ["REFRESH", "Screen", "print_table"]

REFRESH = 0.25
"""Seconds between updates of the live table."""

_COLUMNS = {
    "ok": ("ok", ",d"),
    "errors": ("errors", ",d"),
    "per_second": ("per s", ",.0f"),
    "p50_ms": ("p50 ms", ",.1f"),
    "p99_ms": ("p99 ms", ",.1f"),
    "max_ms": ("max ms", ",.1f"),
}
"""Member of the summary -> heading and format of its column."""


def _table(simulation: Simulation) -> Table:
    results = summary(simulation)
    table = Table(
        box=None,
        pad_edge=False,
        caption_justify="left",
        caption=(
            f"{results['images_ok']:,} of {results['images']:,} images"
            f" and {results['requests']:,} requests in {results['seconds']:.1f} s"
        ),
    )
    table.add_column("operation", no_wrap=True)
    for heading, _ in _COLUMNS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for row in results["operations"]:
        cells = [
            "" if row[name] is None else format(row[name], form)
            for name, (_, form) in _COLUMNS.items()
        ]
        table.add_row(row["operation"], *cells)
    return table


def print_table(simulation: Simulation, stream: TextIO) -> None:
    """Write the results of `simulation` to `stream` as a table."""
    Console(file=stream).print(_table(simulation))


class Screen:
    """
    A live table at the bottom of a terminal, below the lines of a log.

    `stream` is the terminal.  Lines are shown at the next update, every `REFRESH`
    seconds of `clock`.
    """

    def __init__(self, stream: TextIO, clock: IReactorTime) -> None:
        self._console = Console(file=stream)
        self._clock = clock
        self._lines: list[str] = []

    def write(self, text: str) -> None:
        """Show `text`, whole lines, above the table."""
        self._lines.append(text)

    def flush(self) -> None:
        """Show buffered lines."""
        text = "".join(self._lines)
        self._lines.clear()
        if text:
            self._console.out(text, end="", highlight=False)

    @contextmanager
    def showing(self, simulation: Simulation) -> Iterator[None]:
        """Show the progress of `simulation` during the context."""
        live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            get_renderable=lambda: _table(simulation),
        )

        def refresh() -> None:
            self.flush()
            live.refresh()

        looping = LoopingCall(refresh)
        looping.clock = self._clock
        with live:
            looping.start(REFRESH, now=False)
            try:
                yield
            finally:
                looping.stop()
                self.flush()
