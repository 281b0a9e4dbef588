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
