"""Pages that tests render."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.web._markup import Art
from asciid.web.pages import (
    Card,
    ChoicesPage,
    EmbedPage,
    GalleryPage,
    PageImage,
    ProblemPage,
    Site,
    UploadPage,
    ViewerPage,
)

if TYPE_CHECKING:
    from typing import Any

NOW = 1_795_900_000_000
"""28 Nov 2026, 21:06:40 UTC."""

SITE = Site(url="https://art.example", public=True, png=True)
HASH = "5e" * 32


def make_art(columns: int = 14, rows: int = 6, **changes: Any) -> Art:  # noqa: ANN401
    """Return art of dots."""
    values: dict[str, Any] = {
        "cells": "\n".join(["." * columns] * rows),
        "columns": columns,
        "rows": rows,
        "shown_columns": columns,
        "shown_rows": rows,
        "own": False,
    }
    return Art(**(values | changes))


def make_card(number: int = 0, **changes: Any) -> Card:  # noqa: ANN401
    """Return the card of an image."""
    sha256 = f"{number:064x}"
    values: dict[str, Any] = {
        "sha256": sha256,
        "id": sha256[-12:],
        "title": f"Image {number}",
        "completed": NOW - 1000 * number,
        "cursor": f"after-{number}",
    }
    return Card(**(values | changes))


def make_image(**changes: Any) -> PageImage:  # noqa: ANN401
    """Return an image of which everything is known."""
    values: dict[str, Any] = {
        "sha256": HASH,
        "id": HASH[:12],
        "size": 9439,
        "completed": NOW,
        "title": "Lighthouse",
        "description": "A lighthouse on a rock.",
        "author": "A. Painter",
        "licence": "CC-BY-4.0",
        "tags": ("sea", "night"),
        "charset": "cp437",
        "expires": NOW + 86_400_000,
    }
    return PageImage(**(values | changes))


def make_gallery(*cards: Card, **changes: Any) -> GalleryPage:  # noqa: ANN401
    """Return a gallery of the given cards."""
    values: dict[str, Any] = {"site": SITE, "cards": cards, "now": NOW}
    return GalleryPage(**(values | changes))


def make_viewer(site: Site = SITE, **changes: Any) -> ViewerPage:  # noqa: ANN401
    """Return the page of an image between two others."""
    return ViewerPage(
        site=site,
        image=make_image(**changes),
        newer=make_card(1, title="Cat"),
        older=make_card(2, title="Boat"),
    )


def make_embed(site: Site = SITE, **changes: Any) -> EmbedPage:  # noqa: ANN401
    """Return the page of an image in a frame."""
    return EmbedPage(site=site, image=make_image(**changes))


def make_problem(site: Site = SITE, **changes: Any) -> ProblemPage:  # noqa: ANN401
    """Return the page of a problem."""
    values: dict[str, Any] = {
        "status": 404,
        "title": "Not found",
        "detail": "There is no such page.",
    }
    return ProblemPage(site=site, **(values | changes))


def make_choices(*cards: Card) -> ChoicesPage:
    """Return the choices of an ambiguous address."""
    return ChoicesPage(site=SITE, prefix=HASH[:12], cards=cards)


def make_upload(**changes: Any) -> UploadPage:  # noqa: ANN401
    """Return the form for uploads of a host."""
    return UploadPage(site=Site(url="https://art.example", **changes))
