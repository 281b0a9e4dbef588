"""What all pages of this host say about it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from asciid.web.pages import Site

if TYPE_CHECKING:
    from asciid.net.body_limits import InputLimits

__all__ = ["site_of"]


def site_of(  # noqa: PLR0913 - what pages say
    limits: InputLimits,
    *,
    public: bool,
    tokens: bool,
    listing: bool = True,
    listed_by_default: bool = True,
    image_ttl: int | None = None,
) -> Site:
    """
    Return what pages say about a host, without its address.

    `limits` are those of uploads, `public` whether the address was configured, `tokens`
    whether uploads need one, `listing` whether images are listed anywhere,
    `listed_by_default` whether they are if their uploads do not say so, and `image_ttl`
    the age in seconds at which images are deleted.
    """
    return Site(
        public=public,
        listing=listing,
        listed_by_default=listed_by_default,
        needs_token=tokens,
        max_image_size=limits.max_image_size,
        max_chunk_size=limits.max_chunk_size,
        image_ttl=image_ttl or 0,
        png=find_spec("PIL") is not None,
    )
