"""
An HTTP/1.1 front for Klein apps: strict, bounded, and fast.

:class:`KleinFactory` serves a Klein app in place of ``twisted.web.server.Site``; the
handlers are ordinary Klein functions.
"""

from ._factory import KleinFactory
from ._ids import request_id, unique_ids
from ._incoming import STREAMED
from ._limits import Limits
from ._observer import Observer, Observers, Refusal
from ._problem import TooManyConnections
from ._request import Request
from ._streaming import body_of, read_body, streams_body

__all__ = [
    "STREAMED",
    "KleinFactory",
    "Limits",
    "Observer",
    "Observers",
    "Refusal",
    "Request",
    "TooManyConnections",
    "body_of",
    "read_body",
    "request_id",
    "streams_body",
    "unique_ids",
]
