"""Does the jobs of the renderer."""

from __future__ import annotations

import codecs
import gzip
from typing import TYPE_CHECKING, Any

from asciid.art.encodings import Origin
from asciid.art.rendering import (
    PNGUnavailableError,
    TooLargeError,
    parse,
    stylesheet,
    to_html,
    to_png,
    to_svg,
)
from asciid.runtime.cache import ByteBoundedCache, footprint
from asciid.web._markup import (
    MAX_GALLERY_SIZE,
    Art,
    card_size,
    render_choices,
    render_embed,
    render_gallery,
    render_problem,
    render_upload,
    render_viewer,
)
from asciid.web.jobs import (
    CardsJob,
    ChoicesJob,
    CSSJob,
    EmbedJob,
    GalleryJob,
    Missing,
    PNGJob,
    ProblemJob,
    Refused,
    Rendered,
    SVGJob,
    UploadJob,
    ViewerJob,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asciid.art.rendering import Grid
    from asciid.web.jobs import AnyAnswer, AnyJob

__all__ = ["JobHandlers"]

_CAPACITY = 32 * 1024 * 1024
"""Bytes of the cards that are kept."""

_EXCERPT_COLUMNS = 80
_EXCERPT_ROWS = 25

_EMPTY = Art(
    cells="", columns=1, rows=1, shown_columns=1, shown_rows=1, own=False, colours=False
)
"""Instead of an image that was removed, or that has nothing to show."""


class JobHandlers:
    """
    Does jobs, one at a time.

    Cards are kept, so that an image is rendered once for all galleries that show it.
    """

    def __init__(self) -> None:
        self._cards: ByteBoundedCache[Art] = ByteBoundedCache(_CAPACITY, _CAPACITY)
        self._handlers: Mapping[type, Callable[[Any], AnyAnswer]] = {
            CardsJob: self._render_cards,
            GalleryJob: self._render_gallery,
            ViewerJob: _render_viewer,
            EmbedJob: _render_embed,
            UploadJob: lambda job: _page(render_upload(job.page)),
            ChoicesJob: lambda job: _page(render_choices(job.page)),
            ProblemJob: lambda job: _page(render_problem(job.page)),
            SVGJob: _render_svg,
            PNGJob: _render_png,
            CSSJob: _render_css,
        }

    def do(self, job: AnyJob) -> AnyAnswer:
        """Return the answer to a job."""
        try:
            return self._handlers[type(job)](job)
        except TooLargeError as error:
            return Refused(reason=f"{error}.")

    def _render_cards(self, job: CardsJob) -> Rendered:
        for sha256, text in job.texts.items():
            charset = job.charsets.get(sha256, "")
            art = _card_of(text, charset)
            size = footprint(len(art.cells.encode()))
            self._cards.put(_card_key(sha256, charset), art, size)
        return Rendered(body=b"")

    def _render_gallery(self, job: GalleryJob) -> Rendered | Missing:
        arts: list[Art] = []
        missing: list[str] = []
        room = MAX_GALLERY_SIZE
        for card in job.page.cards:
            # The page ends here, so others are not needed.
            if room < 0:
                break
            art = self._cards.get(_card_key(card.sha256, card.charset))
            if art is None and card.sha256 not in job.absent:
                missing.append(card.sha256)
            arts.append(art or _EMPTY)
            room -= len(arts[-1].cells)
        if missing:
            return Missing(hashes=tuple(missing))
        html, _ = render_gallery(job.page, arts)
        return _page(html)


def _page(html: str) -> Rendered:
    body = html.encode("utf-8", "replace")
    return Rendered(body=body, gzip=gzip.compress(body, compresslevel=4, mtime=0))


def _text_of(data: bytes) -> str:
    """Return the text of an image, or its beginning, which may end in a character."""
    return codecs.getincrementaldecoder("utf-8")("replace").decode(data)


def _art_of(grid: Grid, columns: int, rows: int, *, quantise: bool) -> Art:
    return Art(
        cells=to_html(grid, rows=rows, columns=columns, quantise=quantise),
        columns=grid.width,
        rows=grid.height,
        shown_columns=columns,
        shown_rows=rows,
        own=grid.coloured,
        colours=grid.has_true_colours and not quantise,
    )


def _card_key(sha256: str, charset: str) -> str:
    # An image can be deleted, and sent again with another charset.
    return f"{sha256} {charset}"


def _grid_of(text: str, charset: str) -> Grid:
    """Return the cells of a text that has to be shown as `charset` says."""
    origin = Origin.parse(charset)
    return parse(text, columns=origin.columns, ice_colours=origin.ice_colours)


def _card_of(data: bytes, charset: str) -> Art:
    text = _text_of(data)
    try:
        grid = _grid_of(text, charset)
    except TooLargeError:
        lines = text.splitlines()[:_EXCERPT_ROWS]
        try:
            grid = parse("\n".join(line[:_EXCERPT_COLUMNS] for line in lines))
        except TooLargeError:
            return _EMPTY
    return _art_of(grid, *card_size(grid.width, grid.height), quantise=True)


def _whole(data: bytes | None, charset: str) -> Art | None:
    """Return the art of a page; None if it is too large."""
    if data is None:
        return None
    try:
        grid = _grid_of(_text_of(data), charset)
    except TooLargeError:
        return None
    return _art_of(grid, grid.width, grid.height, quantise=False)


def _render_viewer(job: ViewerJob) -> Rendered:
    return _page(render_viewer(job.page, _whole(job.text, job.page.image.charset)))


def _render_embed(job: EmbedJob) -> Rendered:
    return _page(render_embed(job.page, _whole(job.text, job.page.image.charset)))


def _render_svg(job: SVGJob) -> Rendered:
    grid = _grid_of(_text_of(job.text), job.charset)
    return _page(to_svg(grid, title=job.title, description=job.description))


def _render_css(job: CSSJob) -> Rendered:
    return _page(stylesheet(_grid_of(_text_of(job.text), job.charset)))


def _render_png(job: PNGJob) -> Rendered | Refused:
    try:
        return Rendered(body=to_png(_grid_of(_text_of(job.text), job.charset)))
    except PNGUnavailableError:
        return Refused(reason="This service renders no PNG.")
