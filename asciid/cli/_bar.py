"""A progress bar on a terminal (rich), or none."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from twisted.internet.task import LoopingCall

from asciid.cli._filter import one_line
from asciid.cli._reporting import report
from asciid.client import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.interfaces import IReactorTime

    from asciid.client import OnProgress

__all__ = ["Bar", "can_show"]

_REFRESH = 0.1  # seconds
_NAME_WIDTH = 24  # columns; a hash alone would leave the rest of it no room
_NO_RICH = "no progress is shown without rich: pip install 'asciid[client]'"


def can_show() -> bool:
    """Tell whether a bar is of use: standard error and output are terminals."""
    return sys.stdout.isatty() and sys.stderr.isatty()


class Bar:
    """
    Adds up how far images are, and shows it: bytes, rate, time left, retries.

    `total` is how many bytes they have together; None is what the first to
    come says.
    """

    def __init__(self, name: str, total: int | None) -> None:
        self._name = one_line(name)
        self._total = total
        self._images: dict[int, Progress] = {}
        self._ids = 0
        self._erase: Callable[[], object] | None = None

    def image(self) -> OnProgress:
        """Return what is to be told of the progress of one more image."""
        self._ids += 1
        image = self._ids

        def follow(progress: Progress) -> None:
            self._images[image] = progress

        return follow

    @property
    def now(self) -> Progress:
        """All of it together."""
        images = self._images.values()
        total = self._total
        if total is None:
            total = sum(image.total for image in images)
        return Progress(
            sum(image.done for image in images),
            total,
            sum(image.retries for image in images),
        )

    def echo(self, text: str, *, err: bool = False) -> None:
        """
        Print `text`, whole lines or nothing, where the bar is; that moves below.

        Printed past it, text would follow the bar on its line, and the bar would
        stay there.
        """
        if text:
            if self._erase is not None:
                self._erase()
            if err:
                click.echo(text, nl=False, err=True)
            else:
                report(text, nl=False)

    @contextmanager
    def showing(self, clock: IReactorTime) -> Iterator[None]:
        """
        Show it on standard error for as long as the context lasts.

        Unless that and standard output are terminals, it is not shown.
        """
        if not can_show():
            yield
            return
        try:
            from rich.console import Console  # noqa: PLC0415 - an extra
            from rich.control import Control  # noqa: PLC0415 - likewise
            from rich.progress import (  # noqa: PLC0415 - likewise
                BarColumn,
                DownloadColumn,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )
            from rich.progress import Progress as Shown  # noqa: PLC0415 - likewise
            from rich.segment import ControlType  # noqa: PLC0415 - likewise
            from rich.table import Column  # noqa: PLC0415 - likewise
        except ImportError:
            click.echo(_NO_RICH, err=True)
            yield
            return

        def column(width: int | None = None) -> Column:
            # The bar is what becomes shorter on a narrow terminal.
            return Column(no_wrap=True, max_width=width)

        console = Console(file=sys.stderr)
        erasing = Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))
        shown = Shown(
            TextColumn(
                "{task.description}", markup=False, table_column=column(_NAME_WIDTH)
            ),
            BarColumn(),
            DownloadColumn(table_column=column()),
            TransferSpeedColumn(table_column=column()),
            TimeRemainingColumn(table_column=column()),
            TextColumn("{task.fields[retries]}", table_column=column()),
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        task = shown.add_task(self._name, total=None, retries="")

        def refresh() -> None:
            now = self.now
            retries = f"{now.retries} retries" if now.retries else ""
            shown.update(
                task, completed=now.done, total=now.total or None, retries=retries
            )
            shown.refresh()

        looping = LoopingCall(refresh)
        looping.clock = clock
        with shown:
            looping.start(_REFRESH)
            self._erase = lambda: console.control(erasing)
            try:
                yield
            finally:
                self._erase = None
                looping.stop()
                refresh()
