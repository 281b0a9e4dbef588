"""A progress bar on standard error, drawn by rich."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.control import Control
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Display
from rich.segment import ControlType
from rich.table import Column

if TYPE_CHECKING:
    from asciid.client import Progress

__all__ = ["RichBar"]

_NAME_WIDTH = 24  # columns; a whole hash would fill the line
_ERASE_LINE = Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))


def _column(width: int | None = None) -> Column:
    # On a narrow terminal only the bar itself becomes shorter.
    return Column(no_wrap=True, max_width=width)


class RichBar:
    """A line with bytes, rate, time left and retries; a context manager."""

    def __init__(self, name: str) -> None:
        self._console = Console(file=sys.stderr)
        self._display = Display(
            TextColumn(
                "{task.description}", markup=False, table_column=_column(_NAME_WIDTH)
            ),
            BarColumn(),
            DownloadColumn(table_column=_column()),
            TransferSpeedColumn(table_column=_column()),
            TimeRemainingColumn(table_column=_column()),
            TextColumn("{task.fields[retries]}", table_column=_column()),
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._display.add_task(name, total=None, retries="")

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._display.stop()

    def update(self, now: Progress) -> None:
        """Draw the bar at `now`."""
        self._display.update(
            self._task,
            completed=now.done,
            total=now.total or None,
            retries=f"{now.retries} retries" if now.retries else "",
        )
        self._display.refresh()

    def erase(self) -> None:
        """Erase the line of the bar."""
        self._console.control(_ERASE_LINE)
