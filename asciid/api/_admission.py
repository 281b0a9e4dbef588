"""Decides whether a request may write, as far as its header fields tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.api._authorization import READS, Access
from asciid.api._refusals import UploadRateError
from asciid.api._schema import require_image, require_json
from asciid.errors import AsciidError

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.api._authorization import Tokens
    from asciid.api._clients import ClientAddresses
    from asciid.api._cors import CORS
    from asciid.api._request_interface import Request, RoutedRequest
    from asciid.net.rate_limit import RateLimit

__all__ = ["Admission"]

_MEDIA_TYPES: dict[str | None, Callable[[Request], None]] = {
    "register": require_json,
    "add_chunk": require_json,
    "upload": require_image,
}
"""Endpoint -> check of Content-Type and Content-Encoding."""

_CREATING = frozenset({"register", "upload"})
"""Endpoints that count for the upload rate."""


class Admission:
    """
    Admits writes: sets their CORS fields, checks tokens and the upload rate.

    Without `tokens` every client may write.  `upload_rate` limits the requests that may
    create an image, by the key of the client that `clients` determines; None: there is
    no limit.
    """

    def __init__(
        self,
        cors: CORS,
        clients: ClientAddresses,
        *,
        tokens: Tokens | None = None,
        upload_rate: RateLimit | None = None,
    ) -> None:
        self._cors = cors
        self._clients = clients
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

    @property
    def by_token(self) -> bool:
        """Whether writes require a token."""
        return self._access is not None

    def refuses_unread(self, request: RoutedRequest) -> bool:
        """Return whether a request will be refused, whatever its body."""
        endpoint = request.route.endpoint
        try:
            if self._access is not None and request.method not in READS:
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

    def _take_token(self, request: Request) -> None:
        self.write(request)
        if self._rate is not None:
            _refuse_after(self._rate.take(self._clients.key_of(request)))


def _refuse_after(wait: float) -> None:
    if wait:
        raise UploadRateError(wait)
