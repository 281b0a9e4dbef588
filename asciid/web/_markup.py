"""
Makes the HTML of each page from its model and the cells of the art that it shows.

Everything that was written by somebody else is escaped by the templates; only `cells`
are inserted as they are, since `asciid.art` escapes each of them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from msgspec import Struct

from asciid.web.assets import static_paths

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asciid.web.pages import (
        Card,
        ChoicesPage,
        EmbedPage,
        GalleryPage,
        PageImage,
        ProblemPage,
        UploadPage,
        ViewerPage,
    )

__all__ = [
    "MAX_GALLERY_SIZE",
    "Art",
    "card_size",
    "render_choices",
    "render_embed",
    "render_gallery",
    "render_problem",
    "render_upload",
    "render_viewer",
]

MAX_GALLERY_SIZE = 400_000
"""Maximum bytes of a gallery page."""

_FRAME_SIZE = 8_000
"""Bytes of a gallery page without its cards, at most."""

_CARD_SIZE = 600
"""Bytes of a card without cells, title and description, at most."""

_PAGE_COLUMNS = 134
"""Cells that fit side by side on a page of full width."""

_CARD_COLUMNS = 80
_CARD_ROWS = 25

_WIDE_CARD_COLUMNS = 320
"""Maximum columns of a card that has a row of the gallery for itself."""

_MAX_DIGITS = 999
"""Largest width or height that the classes of the style sheet can express."""

_LAST_TIME = 253_402_300_799_999
"""The last millisecond of the year 9999, the last that `datetime` can express."""

_LIFETIMES = (
    ("1h", "1 hour", 3_600),
    ("1d", "1 day", 86_400),
    ("7d", "7 days", 604_800),
    ("30d", "30 days", 2_592_000),
    ("365d", "1 year", 31_536_000),
)


class Art(Struct, frozen=True, kw_only=True):
    """The cells of an image as HTML."""

    cells: str
    """The content of the ``<pre>``, escaped."""
    columns: int
    """Width of the whole image in cells."""
    rows: int
    """Height of the whole image in cells."""
    shown_columns: int
    """Width of `cells`, for a card."""
    shown_rows: int
    """Height of `cells`, for a card."""
    own: bool
    """Whether it has colours of its own, which need a black ground."""
    colours: bool = False
    """Whether it has more colours than the style sheet, in ``/i/<id>.css``."""

    @property
    def markup(self) -> Markup:
        """The cells, not to be escaped again."""
        return Markup(self.cells)  # noqa: S704 (asciid.art escapes each cell)

    @property
    def classes(self) -> str:
        """The classes of the ``<pre>``, which tell the style sheet its size."""
        names = ["art"]
        for letter, count in (("c", self.shown_columns), ("r", self.shown_rows)):
            digits = f"{min(max(count, 1), _MAX_DIGITS):03}"
            for place, digit in zip("htu", digits, strict=True):
                if digit != "0":
                    names.append(f"{letter}{place}{digit}")
        return " ".join(names)

    @property
    def wide(self) -> bool:
        """Whether its card has a row of the gallery for itself."""
        return _is_wide(self.columns, self.rows)

    @property
    def scrolls(self) -> bool:
        """Whether the viewer begins at its natural size, as the page is too narrow."""
        return self.columns > _PAGE_COLUMNS


def _is_wide(columns: int, rows: int) -> bool:
    # A cell is .6 em wide and 1.1333 em high.
    return columns > _CARD_COLUMNS and columns * 0.53 > rows * 5


def card_size(columns: int, rows: int) -> tuple[int, int]:
    """
    Return how many columns and rows of an image its card shows.

    A plate is a screen of 80 x 25 cells.  Art of up to the width of a page is scaled to
    the plate, and its card has the rows that a plate has at that scale; wide art has a
    plate of its own; of any other art the card shows the upper left screen.
    """
    if _is_wide(columns, rows):
        return min(columns, _WIDE_CARD_COLUMNS), rows
    if columns > _PAGE_COLUMNS:
        return _CARD_COLUMNS, min(rows, _CARD_ROWS)
    return columns, min(
        rows, max(_CARD_ROWS, -(-columns * _CARD_ROWS // _CARD_COLUMNS))
    )


def _name_of(image: Card | PageImage) -> str:
    return image.title or image.id


def _label_of(image: Card | PageImage, art: Art) -> str:
    """Return what a screen reader says instead of the art."""
    return (
        image.description
        or f"{_name_of(image)}, {art.columns} by {art.rows} characters"
    )


def _when(time: int) -> datetime:
    return datetime.fromtimestamp(min(time, _LAST_TIME) / 1000, UTC)


def _iso(time: int) -> str:
    return _when(time).strftime("%Y-%m-%dT%H:%M:%SZ")


def _day(time: int) -> str:
    when = _when(time)
    return f"{when.day} {when:%b %Y}"


def _date(time: int) -> str:
    return f"{_day(time)}, {_when(time):%H:%M} UTC"


def _age(time: int, now: int) -> str:
    seconds = (now - time) // 1000
    if seconds < 60:  # noqa: PLR2004 (seconds of a minute)
        return "now"
    for unit, length, many in (("min", 60, 60), ("h", 3_600, 24), ("d", 86_400, 30)):
        if seconds < length * many:
            return f"{seconds // length} {unit}"
    return _day(time)


def _span(seconds: int) -> str:
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count, rest = divmod(seconds, length)
        if count and not rest:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{seconds} seconds"


def _group(number: int) -> str:
    return f"{number:,}".replace(",", "\N{NO-BREAK SPACE}")


def _bare(url: str) -> str:
    return url.partition("://")[2] or url


def _is_url(licence: str) -> bool:
    return licence.startswith(("https://", "http://"))


def _environment() -> Environment:
    # Escaping is on whatever the name of a template, and an unknown name is an error.
    environment = Environment(
        loader=PackageLoader("asciid.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    paths = static_paths()
    environment.globals.update(
        static=paths.__getitem__, name_of=_name_of, label_of=_label_of
    )
    environment.filters.update(
        age=_age,
        bare=_bare,
        date=_date,
        group=_group,
        is_url=_is_url,
        iso=_iso,
        span=_span,
    )
    return environment


_GALLERY, _VIEWER, _EMBED, _UPLOAD, _PROBLEM, _CHOICES = map(
    _environment().get_template,
    (
        "gallery.html",
        "viewer.html",
        "embed.html",
        "upload.html",
        "problem.html",
        "choices.html",
    ),
)


def _arranged(cards: list[tuple[Card, Art]]) -> list[tuple[Card, Art]]:
    """
    Return the cards in an order that leaves no hole in rows of three.

    A wide card begins a row; one that cannot is moved behind those that fill the row
    before it.  So the order of the page is that in which the eye and the focus move.
    """
    arranged: list[tuple[Card, Art]] = []
    waiting: list[tuple[Card, Art]] = []
    column = 0
    for card, art in cards:
        if art.wide and column:
            waiting.append((card, art))
            continue
        arranged.append((card, art))
        if not art.wide:
            column = (column + 1) % 3
        if not column:
            arranged += waiting
            waiting.clear()
    return arranged + waiting


def render_gallery(page: GalleryPage, arts: Iterable[Art]) -> tuple[str, int]:
    """
    Return the gallery and how many cards it shows.

    `arts` has the art of each card, in their order, and is consumed as far as the page
    has room: it ends before the card with which it would exceed `MAX_GALLERY_SIZE`, and
    links to what follows.
    """
    room = MAX_GALLERY_SIZE - _FRAME_SIZE
    shown: list[tuple[Card, Art]] = []
    for card, art in zip(page.cards, arts, strict=False):
        texts = escape(_name_of(card)) + escape(_label_of(card, art))
        room -= len(art.cells.encode()) + len(texts.encode()) + _CARD_SIZE
        if room < 0 and shown:
            break
        shown.append((card, art))
    more = page.more or len(shown) < len(page.cards)
    html = _GALLERY.render(
        page=page,
        site=page.site,
        here="gallery",
        cards=_arranged(shown),
        older=shown[-1][0].cursor if more and shown else "",
    )
    return html, len(shown)


def render_viewer(page: ViewerPage, art: Art | None) -> str:
    """Return the page of one image; without `art` it links to the text."""
    return _VIEWER.render(page=page, site=page.site, here="", art=art)


def render_embed(page: EmbedPage, art: Art | None) -> str:
    """Return the page of one image for a frame; without `art` it says why."""
    return _EMBED.render(page=page, site=page.site, art=art)


def render_upload(page: UploadPage) -> str:
    """Return the form for uploads."""
    return _UPLOAD.render(
        page=page, site=page.site, here="upload", lifetimes=_LIFETIMES
    )


def render_problem(page: ProblemPage) -> str:
    """Return the page for an image or a page that is not served."""
    return _PROBLEM.render(page=page, site=page.site, here="")


def render_choices(page: ChoicesPage) -> str:
    """Return the list of the images that an ambiguous address may mean."""
    return _CHOICES.render(page=page, site=page.site, here="")
