"""
The client side of asciid: a library on treq, and the ``asciid`` command line.

The library is `Client`, with what it returns and raises:

``_client``     what there is to call
``_upload``     an upload, whole or in chunks, that goes on where it was
``_download``   a download that does, and ``_part``, the file it grows in
``_source``     what is uploaded: bytes and files
``_calls``      the requests of the protocol
``_transport``  requests that are tried again, with ``_exchange``, ``_patience``,
                ``_agent`` and ``_errors``
``_wire``       what they and those of a simulation have in common
``_progress``   what is told of it all

The command line:

``cli``            the command group, which ``asciid._command`` imports and runs
``_cli_put``       ``asciid put``, ``_cli_get`` ``get`` and ``cat``, ``_cli_images``
                   ``status`` and ``rm``, ``_cli_completion`` ``completion``
``_cli_server``    what these have in common
``_bar``           a progress bar (rich)
``_manual``        docs/client.md, made of what ``--help`` says
``_filter``        what of a text, or of a name, a terminal may be shown
``_cli_simulate``  ``asciid simulate``: its options
``_simulate``      what a simulation does with a server
``_steps``         the steps of one image, each checked
``_plan``          how much there is to do, and what goes wrong on purpose
``_pace``          when images begin
``_tally``         how often and how fast each step went well
``_summary``       that as a value for programs
``_screen``        that as a table, and live on a terminal (rich)
``_report``        where the log and the table go
``_requests``      requests to one server, on treq
``_art``           figlet art
``_log``           log lines in logrus's formats
``_run``           a reactor run that ends with an exit code
"""

from ._client import Client
from ._errors import (
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
from ._progress import Progress
from ._upload import Uploaded

__all__ = [
    "ChangedError",
    "Client",
    "ClientError",
    "DamagedError",
    "DownloadBusyError",
    "LostError",
    "NoTLSError",
    "NotFoundError",
    "NotTextError",
    "ProblemError",
    "Progress",
    "RefusedError",
    "ServerFailedError",
    "SplitCharacterError",
    "UntrustedError",
    "Uploaded",
]
