"""
An HTTP/1.1 server for Klein apps: strict, bounded, and fast.

:class:`KleinFactory` serves a Klein app in place of ``twisted.web.server.Site``; the
handlers are ordinary Klein functions.
"""

from asciid.http._cached_by_fields import cached_by_fields
from asciid.http._factory import KleinFactory
from asciid.http._ids import request_id, unique_ids
from asciid.http._limits import Limits
from asciid.http._observer import Observer, Observers, Refusal
from asciid.http._prepared_head import PreparedHead, encode_fields
from asciid.http._problem import TooManyConnections
from asciid.http._request import Request
from asciid.http._request_fields import names_of, values_of
from asciid.http._route import Route
from asciid.http._streaming import body_of, read_body, streams_body, write_pieces

__all__ = [
    "KleinFactory",
    "Limits",
    "Observer",
    "Observers",
    "PreparedHead",
    "Refusal",
    "Request",
    "Route",
    "TooManyConnections",
    "body_of",
    "cached_by_fields",
    "encode_fields",
    "names_of",
    "read_body",
    "request_id",
    "streams_body",
    "unique_ids",
    "values_of",
    "write_pieces",
]
