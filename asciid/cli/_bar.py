"""A progress bar on a terminal, drawn by rich if that is installed."""

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
_NO_RICH = "progress bar unavailable, rich is missing: pip install 'asciid[client]'"


def can_show() -> bool:
    """Return whether standard output and standard error are terminals."""
    return sys.stdout.isatty() and sys.stderr.isatty()


class Bar:
    """
    Shows the total progress of several images: bytes, rate, time left, retries.

    `total` is their size in bytes; None adds up the sizes that are reported.
    """

    def __init__(self, name: str, total: int | None) -> None:
        self._name = one_line(name)
        self._total = total
        self._images: dict[int, Progress] = {}
        self._ids = 0
        self._erase: Callable[[], object] | None = None

    def image(self) -> OnProgress:
        """Add an image; return its progress callback."""
        self._ids += 1
        image = self._ids

        def follow(progress: Progress) -> None:
            self._images[image] = progress

        return follow

    def resize(self, change: int) -> None:
        """Add a number of bytes, which may be negative, to the total."""
        if self._total is not None:
            self._total += change

    @property
    def now(self) -> Progress:
        """The progress of all images together."""
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
        Print `text`, whole lines or nothing, above the bar.

        Printed directly, text would continue the line of the bar.
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
        Show the bar on standard error during the context.

        Shows nothing unless `can_show`.
        """
        if not can_show():
            yield
            return
        try:
            from asciid.cli._rich_bar import RichBar  # noqa: PLC0415 - rich is an extra
        except ImportError:
            click.echo(_NO_RICH, err=True)
            yield
            return
        bar = RichBar(self._name)
        looping = LoopingCall(lambda: bar.update(self.now))
        looping.clock = clock
        with bar:
            looping.start(_REFRESH)
            self._erase = bar.erase
            try:
                yield
            finally:
                self._erase = None
                looping.stop()
                bar.update(self.now)
