"""What all pages of this host say about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.web.pages import Site

if TYPE_CHECKING:
    from asciid.api._schema import InputLimits

__all__ = ["site_of"]


def site_of(limits: InputLimits, *, tokens: bool, url: str = "") -> Site:
    """
    Return what pages say about a host.

    `limits` are those of uploads, `tokens` whether uploads need one, and `url` is the
    address of the host, without a slash at the end.
    """
    return Site(
        url=url,
        needs_token=tokens,
        max_image_size=limits.max_image_size,
        max_chunk_size=limits.max_chunk_size,
    )
