"""
The client library, on treq: `Client`, with what it returns and raises.

``_client``      what there is to call
``_upload``      an upload, whole or in chunks, that goes on where it was
``_download``    a download that does, and ``_part``, the file it grows in
``destination``  where a download is written
``source``       what is uploaded: bytes and files
``_calls``       the requests of the protocol
``_transport``   requests that are tried again, with ``exchange``, ``_patience``,
                 ``agent`` and ``_exceptions``
``wire``         what they and those of a simulation have in common
``_progress``    what is told of it all
"""

from asciid.client._client import CONCURRENCY, CONNECTIONS, Client
from asciid.client._exceptions import (
    ChangedError,
    ClientError,
    DamagedError,
    DownloadBusyError,
    LostError,
    NotFoundError,
    NoTLSError,
    NotTextError,
    ProblemError,
    RefusedError,
    ServerFailedError,
    SplitCharacterError,
    UntrustedError,
)
from asciid.client._progress import OnProgress, Progress
from asciid.client._upload import CHUNK_SIZE, Uploaded

__all__ = [
    "CHUNK_SIZE",
    "CONCURRENCY",
    "CONNECTIONS",
    "ChangedError",
    "Client",
    "ClientError",
    "DamagedError",
    "DownloadBusyError",
    "LostError",
    "NoTLSError",
    "NotFoundError",
    "NotTextError",
    "OnProgress",
    "ProblemError",
    "Progress",
    "RefusedError",
    "ServerFailedError",
    "SplitCharacterError",
    "UntrustedError",
    "Uploaded",
]
