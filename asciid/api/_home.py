"""What a terminal gets at the root: how to use this host, and its newest images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.runtime.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asciid.model import ListedImage
    from asciid.web.pages import Site

__all__ = ["HOME_LENGTH", "home_text"]

HOME_LENGTH = 10
"""Images that are named."""


def home_text(site: Site, images: Sequence[ListedImage]) -> str:
    """Return the text; `images` are the newest ones."""
    base = site.url
    token = '-H "Authorization: Bearer $TOKEN" ' if site.needs_token else ""
    lines = [
        "asciid hosts ASCII art.",
        "",
        "Send a file, and get a short link:",
        f"  curl {token}-T cat.txt {base}/",
        f"  figlet Hello | curl {token}-T - {base}/",
        "",
        "See an image:",
        f"  curl -L {base}/i/<id>.txt",
    ]
    if site.listing:
        lines += [f"  curl {base}/random"]
    if images:
        lines += ["", "Newest images:", *(_line(base, image) for image in images)]
    lines += ["", f"In a browser: {base}/", f"API: {base}/openapi.json", ""]
    return "\n".join(lines)


def _line(base: str, image: ListedImage) -> str:
    about = image.record.about
    name = image.spec.sha256
    words = " by ".join(filter(None, (about.title, about.author)))
    return f"  {base}/i/{name[:12]}  {printable(words)}".rstrip()
