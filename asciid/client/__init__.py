"""
The client library, on treq: `Client`, its results and its errors.

``_client``      the public interface
``_upload``      resumable uploads, in one request or in chunks
``_download``    resumable downloads, and ``_part``, their partial files
``destination``  the outputs of downloads
``source``       the inputs of uploads: bytes and files
``_image_about`` what is said about an image
``_found_images`` pages of the listing
``_calls``       the requests of the protocol
``_transport``   requests with retries, with ``exchange``, ``_backoff``,
                 ``agent`` and ``_exceptions``
``wire``         requests, shared with simulations
``_progress``    progress reports
"""

from asciid.client._client import CONCURRENCY, CONNECTIONS, Client
from asciid.client._exceptions import (
    AmbiguousError,
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
from asciid.client._found_images import FoundImage, ListingPage
from asciid.client._image_about import AboutFields, ImageAbout
from asciid.client._progress import OnProgress, Progress
from asciid.client._upload import CHUNK_SIZE, OnEditKey, Uploaded

__all__ = [
    "CHUNK_SIZE",
    "CONCURRENCY",
    "CONNECTIONS",
    "AboutFields",
    "AmbiguousError",
    "ChangedError",
    "Client",
    "ClientError",
    "DamagedError",
    "DownloadBusyError",
    "FoundImage",
    "ImageAbout",
    "ListingPage",
    "LostError",
    "NoTLSError",
    "NotFoundError",
    "NotTextError",
    "OnEditKey",
    "OnProgress",
    "ProblemError",
    "Progress",
    "RefusedError",
    "ServerFailedError",
    "SplitCharacterError",
    "UntrustedError",
    "Uploaded",
]
