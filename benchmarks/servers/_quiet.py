"""Serves a resource on stock twisted.web, without an access log."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from twisted.internet import reactor
from twisted.web.server import Request, Site

if TYPE_CHECKING:
    from twisted.web.resource import IResource


class QuietSite(Site):
    """A `Site` that does not log requests: no server here does."""

    def log(self, request: Request) -> None:
        """Write nothing."""


def serve(resource: IResource) -> None:
    """Serve `resource` on the port of 127.0.0.1 that the first argument names."""
    reactor.listenTCP(
        int(sys.argv[1]), QuietSite(resource), backlog=1024, interface="127.0.0.1"
    )
    reactor.run()
