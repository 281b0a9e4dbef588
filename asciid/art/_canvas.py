"""The canvas that art is written on: rows of cells, and a cursor."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from wcwidth import iter_graphemes, wcswidth

from asciid.art._art_limits import TooLargeError
from asciid.art._grid import PLAIN, Run, Style

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from asciid.art._art_limits import Limits

__all__ = ["BLANK_PEN", "Canvas"]

BLANK_PEN = 0
"""The pen of cells that were skipped or erased."""

_REST = ""
"""What stands in the second column of a wide character."""

_WIDE = 2

_ROW = 16
"""The work of adding or moving a row, in cells."""

_TAB = 8


class Canvas:
    """
    Rows of cells that grow as they are written.

    Pens are numbers, whose meaning the canvas does not know.  Rows and columns count
    from 0.  Every method that writes raises `TooLargeError` beyond the limits.
    """

    def __init__(self, columns: int | None, limits: Limits) -> None:
        self.x = 0
        """Column of the cursor; `columns` after the last one was written."""
        self.y = 0
        """Row of the cursor."""
        self._columns = columns
        self._limits = limits
        self._last = (columns or limits.columns) - 1
        self._cells: list[list[str]] = []
        self._pens: list[list[int]] = []
        self._clusters = False
        self._room = limits.cells
        self._work = limits.work

    # Movement.

    def move(self, x: int, y: int) -> None:
        """Move the cursor, but not out of the columns and rows that there can be."""
        self.x = min(max(x, 0), self._last)
        self.y = min(max(y, 0), self._limits.rows - 1)

    def tab(self, count: int) -> None:
        """Move `count` tab stops to the right, or to the left if it is negative."""
        stop = self.x // _TAB if count > 0 else -(-self.x // _TAB)
        self.move((stop + count) * _TAB, self.y)

    def next_line(self) -> None:
        """Move to the begin of the next row."""
        self.x = 0
        self.y += 1

    # Writing.

    def write(self, text: str, pen: int) -> None:
        """Write characters of one column each."""
        if self._columns is not None:
            room = self._columns - self.x
            while len(text) >= room:
                self._put(text[:room], room, pen)
                text = text[room:]
                self.next_line()
                room = self._columns
            if not text:
                return
        self._put(text, len(text), pen)

    def repeat(self, character: str, count: int, pen: int) -> None:
        """Write a character `count` times, but not beyond the last column."""
        count = min(count, self._last + 1 - self.x)
        if len(character) == wcswidth(character) == 1 and count > 0:
            self._spend(count)
            self.write(character * count, pen)

    def write_clusters(self, text: str, pen: int) -> None:
        """Write characters of any width; those of none join the one before them."""
        self._clusters = True
        for cluster in iter_graphemes(text):
            width = min(wcswidth(cluster), _WIDE)
            if width > 0:
                self._write_cluster(cluster, width, pen)
            elif width == 0:
                self._join(cluster)

    def _write_cluster(self, cluster: str, width: int, pen: int) -> None:
        if self._columns is not None:
            if width > self._columns:
                cluster, width = "\N{REPLACEMENT CHARACTER}", 1
            if self.x + width > self._columns:
                self.next_line()
        self._check_cluster(cluster)
        self._put((cluster, _REST)[:width], width, pen)
        if self.x == self._columns:
            self.next_line()

    def _check_cluster(self, cluster: str) -> None:
        if len(cluster) > self._limits.code_points:
            what = "code points in a cell"
            raise TooLargeError(what, self._limits.code_points)

    def _join(self, marks: str) -> None:
        """Add combining marks to the character before the cursor, if there is one."""
        x, y = self.x, self.y
        if x == 0 and self._columns is not None:
            # The cursor may have wrapped behind the character.
            x, y = self._columns, y - 1
        if not 0 <= y < len(self._cells) or not 0 < x <= len(self._cells[y]):
            return
        cells = self._cells[y]
        x -= 1
        if x > 0 and cells[x] == _REST:
            x -= 1
        cluster = cells[x] + marks
        self._check_cluster(cluster)
        if wcswidth(cluster) < _WIDE or _REST in cells[x + 1 : x + 2]:
            cells[x] = cluster
        elif self.x == x + 1 <= self._last:
            # A variation selector makes a character wide, where there is room.
            cells[x] = cluster
            self._put((_REST,), 1, self._pens[y][x])
            if self.x == self._columns:
                self.next_line()

    def _put(self, cells: Sequence[str], count: int, pen: int) -> None:
        """Write `count` cells, which fit into the columns, and move behind them."""
        x = self.x
        end = x + count
        try:
            row = self._cells[self.y]
        except IndexError:
            row = self._add_rows()
        pens = self._pens[self.y]
        length = len(row)
        if end > length:
            self._room -= end - length
            if end > self._limits.columns:
                raise TooLargeError("columns", self._limits.columns)
            if self._room < 0:
                raise TooLargeError("cells", self._limits.cells)
            if x > length:
                self._spend(x - length)
                row += " " * (x - length)
                pens += [BLANK_PEN] * (x - length)
        if x < length:
            self._part(x)
            self._part(end)
        row[x:end] = cells
        pens[x:end] = [pen] * count
        self.x = end

    def _add_rows(self) -> list[str]:
        if self.y >= self._limits.rows:
            raise TooLargeError("rows", self._limits.rows)
        self._spend(_ROW * (self.y + 1 - len(self._cells)))
        while len(self._cells) <= self.y:
            self._cells.append([])
            self._pens.append([])
        return self._cells[self.y]

    def _part(self, x: int) -> None:
        """Make blanks of a wide character that lies on both sides of column `x`."""
        row = self._cells[self.y]
        if 0 < x < len(row) and row[x] == _REST:
            row[x - 1] = row[x] = " "

    # Erasing, inserting and deleting.

    def _spend(self, work: int) -> None:
        self._work -= work
        if self._work < 0:
            what = "cells skipped, erased or moved"
            raise TooLargeError(what, self._limits.work)

    def _truncate(self, y: int, x: int) -> None:
        row = self._cells[y]
        self._room += max(len(row) - x, 0)
        del row[x:]
        del self._pens[y][x:]

    def _fill(self, start: int, end: int, pen: int) -> None:
        self._spend(end - start)
        x = self.x
        self.x = start
        self._put(" " * (end - start), end - start, pen)
        self.x = x

    def erase(self, count: int) -> None:
        """Erase `count` cells from the cursor on, without moving what follows."""
        end = min(self.x + count, self._length())
        if end > self.x:
            self._fill(self.x, end, BLANK_PEN)

    def _length(self) -> int:
        return len(self._cells[self.y]) if self.y < len(self._cells) else 0

    def erase_in_line(self, mode: int, pen: int) -> None:
        """
        Erase the row: from the cursor on (0), up to the cursor (1), or all of it (2).

        Art that is made for some number of columns gets the ground of `pen`.
        """
        if mode == 1:
            end = min(self.x + 1, self._length())
            if end:
                self._fill(0, end, BLANK_PEN)
            return
        start = self.x if mode == 0 else 0
        if self._length() > start:
            self._part(start)
            self._truncate(self.y, start)
        if self._columns is not None and pen != BLANK_PEN and start < self._columns:
            self._fill(start, self._columns, pen)

    def erase_in_page(self, mode: int) -> None:
        """Erase from the cursor on (0), up to it (1), or all and go to the top (2)."""
        if mode == 0:
            self.erase_in_line(0, BLANK_PEN)
            first, last = self.y + 1, len(self._cells)
        elif mode == 1:
            self.erase_in_line(1, BLANK_PEN)
            first, last = 0, min(self.y, len(self._cells))
        else:
            first, last = 0, len(self._cells)
            self.x = self.y = 0
        self._spend(_ROW * max(last - first, 0) if mode == 1 else 0)
        for y in range(first, last):
            self._truncate(y, 0)
        if mode != 1:
            del self._cells[first:]
            del self._pens[first:]

    def insert(self, count: int) -> None:
        """Insert blanks at the cursor; what moves out of the columns is lost."""
        length = self._length()
        count = min(count, self._last + 1 - self.x)
        if self.x >= length or count <= 0:
            return
        self._spend(length + count)
        self._part(self.x)
        row, pens = self._cells[self.y], self._pens[self.y]
        row[self.x : self.x] = [" "] * count
        pens[self.x : self.x] = [BLANK_PEN] * count
        self._room -= count
        self._part(self._last + 1)
        self._truncate(self.y, self._last + 1)
        if self._room < 0:
            raise TooLargeError("cells", self._limits.cells)

    def delete(self, count: int) -> None:
        """Delete cells at the cursor; those behind them move to the left."""
        length = self._length()
        end = min(self.x + count, length)
        if self.x >= end:
            return
        self._spend(length)
        self._part(self.x)
        self._part(end)
        del self._cells[self.y][self.x : end]
        del self._pens[self.y][self.x : end]
        self._room += end - self.x

    def insert_rows(self, count: int) -> None:
        """Insert empty rows at the cursor; what moves out of the rows is lost."""
        self.x = 0
        height = len(self._cells)
        if self.y >= height:
            return
        count = min(count, self._limits.rows - self.y)
        self._spend(_ROW * count + height)
        for y in range(max(self._limits.rows - count, self.y), height):
            self._truncate(y, 0)
        self._cells[self.y : self.y] = [[] for _ in range(count)]
        self._pens[self.y : self.y] = [[] for _ in range(count)]
        del self._cells[self._limits.rows :]
        del self._pens[self._limits.rows :]

    def delete_rows(self, count: int) -> None:
        """Delete rows at the cursor; those below move up."""
        self.x = 0
        height = len(self._cells)
        end = min(self.y + count, height)
        self._spend(height if self.y < end else 0)
        for y in range(self.y, end):
            self._truncate(y, 0)
        del self._cells[self.y : end]
        del self._pens[self.y : end]

    # Reading.

    def pens(self) -> set[int]:
        """Return the pens of all cells."""
        return set().union(*self._pens)

    def rows(self, styles: Sequence[Style], concealed: set[int]) -> Iterator[list[Run]]:
        """
        Yield the runs of each row, without plain blanks at its end.

        `styles` has the style of each pen; of `concealed` ones, only the ground shows.
        """
        unique = {style: style for style in reversed(styles)}
        styles = [unique[style] for style in styles]
        blanks_show = [style.shows_blanks for style in styles]
        for cells, pens in zip(self._cells, self._pens, strict=True):
            runs: list[Run] = []
            text = "".join(cells)
            single = not self._clusters or all(len(cell) == 1 for cell in cells)
            end = 0
            for pen, group in groupby(pens):
                start = end
                end += len(list(group))
                piece = text[start:end] if single else ""
                style = styles[pen]
                if pen in concealed:
                    piece = " " * (end - start)
                elif not single:
                    for run in _pieces(cells, start, end, style):
                        _append(runs, run)
                    continue
                if blanks_show[pen]:
                    if runs and runs[-1].style is style:
                        _append(runs, Run(piece, end - start, style))
                    else:
                        runs.append(Run(piece, end - start, style))
                elif piece.strip(" "):
                    _append(runs, Run(piece, end - start, style))
                else:
                    _append(runs, Run(piece, end - start, PLAIN))
            if runs and not runs[-1].style.shows_blanks and not runs[-1].cluster:
                _strip_end(runs)
            yield runs


def _pieces(cells: list[str], start: int, end: int, style: Style) -> Iterator[Run]:
    """Yield runs of single characters, and each other character by itself."""
    first = start
    for x in range(start, end):
        wide = x + 1 < len(cells) and cells[x + 1] == _REST
        if len(cells[x]) == 1 and not wide:
            continue
        if first < x:
            yield _single("".join(cells[first:x]), style)
        if cells[x] != _REST:
            yield Run(cells[x], _WIDE if wide else 1, style, cluster=True)
        first = x + 1
    if first < end:
        yield _single("".join(cells[first:end]), style)


def _single(text: str, style: Style) -> Run:
    shown = style.shows_blanks or text.strip(" ")
    return Run(text, len(text), style if shown else PLAIN)


def _append(runs: list[Run], run: Run) -> None:
    """
    Add a run, or make it part of the last one.

    Plain blanks look the same in any style that does not show blanks.
    """
    if runs and not run.cluster:
        text, columns, style, cluster = runs[-1]
        if style == run.style or (run.style == PLAIN and _fits_blanks(run, style)):
            joined = style
        elif style == PLAIN and _fits_blanks(runs[-1], run.style):
            joined = run.style
        else:
            cluster = True
        if not cluster:
            runs[-1] = Run(text + run.text, columns + run.columns, joined)
            return
    runs.append(run)


def _fits_blanks(run: Run, style: Style) -> bool:
    return not style.shows_blanks and not run.text.strip(" ")


def _strip_end(runs: list[Run]) -> None:
    last = runs.pop()
    text = last.text.rstrip(" ")
    if text:
        runs.append(Run(text, len(text), last.style))
