"""
Refuses uploads by pages of other sites.

Browsers send forms, and bodies of some media types, without asking the service first
(Fetch, section 2.2.2, "CORS-safelisted"): so for those CORS protects nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.api._refusals import CrossSiteError
from asciid.http import values_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asciid.api._public_address import PublicAddress
    from asciid.api._request_interface import Request

__all__ = ["OwnPages"]

_OWN_SITES = (b"same-origin", b"none")
"""Values of Sec-Fetch-Site for an own page, and for a user without a page."""


class OwnPages:
    """
    Refuses requests by pages other than those of `public` and of `write_origins`.

    Requests of other clients than browsers are not refused.
    """

    def __init__(self, public: PublicAddress, write_origins: Iterable[str]) -> None:
        self._public = public
        self._write_origins = {origin.encode("ascii") for origin in write_origins}

    def check(self, request: Request) -> None:
        """
        Refuse a request of a page of another site, as far as its browser says so.

        Errors: `CrossSiteError`.
        """
        origins = values_of(request, b"origin")
        sites = values_of(request, b"sec-fetch-site")
        if len(origins) == 1 and origins[0] in self._write_origins:
            return
        if any(site not in _OWN_SITES for site in sites):
            raise CrossSiteError
        for origin in origins:
            # It is hidden by some referrer policies, also from the page's own site.
            hidden = origin == b"null" and bool(sites)
            if not hidden and not self._public.is_own_origin(request, origin):
                raise CrossSiteError
