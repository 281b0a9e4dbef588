"""Decides whether a request may write, as far as its header fields tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.api._authorization import READS, Access
from asciid.api._edit_keys import sent_key_hash
from asciid.api._refusals import (
    EditKeyMissingError,
    TokenMissingError,
    UploadRateError,
)
from asciid.api._schema import require_image, require_json, require_upload
from asciid.errors import AsciidError

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.api._authorization import Tokens
    from asciid.api._clients import ClientAddresses
    from asciid.api._cors import CORS
    from asciid.api._cross_site import OwnPages
    from asciid.api._request_interface import Request, RoutedRequest
    from asciid.net.rate_limit import RateLimit

__all__ = ["Admission"]

_FILES = frozenset({"create", "create_by_put", "create_named"})
"""Endpoints that receive a file of any name."""

_MEDIA_TYPES: dict[str | None, Callable[[Request], object]] = {
    "register": require_json,
    "add_chunk": require_json,
    "set_about": require_json,
    "upload": require_image,
    **dict.fromkeys(_FILES, require_upload),
}
"""Endpoint -> check of Content-Type and Content-Encoding."""

_EDITING = frozenset({"set_about", "delete"})
"""Endpoints that require an edit key, or a token."""

_CREATING = frozenset({"register", "upload", *_FILES})
"""Endpoints that count for the upload rate."""


class Admission:
    """
    Admits writes: sets their CORS fields, checks tokens and the upload rate.

    `pages` refuses those of other sites where browsers do not ask first.  Without
    `tokens` every client may write.  `upload_rate` limits the requests that may create
    an image, by the key of the client that `clients` determines; None: there is no
    limit.
    """

    def __init__(
        self,
        cors: CORS,
        clients: ClientAddresses,
        pages: OwnPages,
        *,
        tokens: Tokens | None = None,
        upload_rate: RateLimit | None = None,
    ) -> None:
        self._cors = cors
        self._clients = clients
        self._pages = pages
        self._rate = upload_rate
        self._access = None if tokens is None else Access(tokens)
        # Without a limit these cost no call.
        self.write: Callable[[Request], None] = cors.mark
        """
        Admit a write.

        Errors: those of `Access.check`.
        """
        if self._access is not None:
            self.write = self._check_token
        self.create: Callable[[Request], None] = self.write
        """
        Admit a write that may create an image.

        Errors: those of `write`, `UploadRateError`.
        """
        if upload_rate is not None:
            self.create = self._take_token

    def create_file(self, request: Request) -> None:
        """
        Admit an upload that browsers send without a preflight.

        Errors: those of `create`, `CrossSiteError`.
        """
        # A page may not learn from the CORS fields of a refusal who may write.
        self._pages.check(request)
        self.create(request)

    def edit(self, request: Request) -> bytes | None:
        """
        Admit a change or a deletion of an image; return the hash of the edit key.

        None: the client has a token, and may edit any image.

        Errors: those of `Access.check`; `EditKeyMissingError`.
        """
        self._cors.mark(request)
        return self._edit_key(request)

    @property
    def by_token(self) -> bool:
        """Whether writes require a token."""
        return self._access is not None

    def refuses_unread(self, request: RoutedRequest) -> bool:
        """Return whether a request will be refused, whatever its body."""
        endpoint = request.route.endpoint
        try:
            if endpoint in _FILES:
                self._pages.check(request)
            if endpoint in _EDITING:
                self._edit_key(request)
            elif self._access is not None and request.method not in READS:
                self._access.check(request)
            check_type = _MEDIA_TYPES.get(endpoint)
            if check_type is not None:
                check_type(request)
            if self._rate is not None and endpoint in _CREATING:
                _refuse_after(self._rate.wait(self._clients.key_of(request)))
        except AsciidError:
            return True
        return False

    def _check_token(self, request: Request) -> None:
        self._cors.mark(request)
        if self._access is not None:
            self._access.check(request)

    def _edit_key(self, request: Request) -> bytes | None:
        access = self._access
        if access is not None and request.getHeader(b"authorization") is not None:
            access.check(request)
            return None
        key_hash = sent_key_hash(request)
        if key_hash is None and access is not None:
            raise TokenMissingError
        if key_hash is None:
            raise EditKeyMissingError
        return key_hash

    def _take_token(self, request: Request) -> None:
        self.write(request)
        if self._rate is not None:
            _refuse_after(self._rate.take(self._clients.key_of(request)))


def _refuse_after(wait: float) -> None:
    if wait:
        raise UploadRateError(wait)
