"""What the daemon tells its operator; `asciid.logs.access` is the access log."""

from asciid.logs._images import ImageLog
from asciid.logs._observers import restyle_twistd
from asciid.logs._passing import event_from, pass_on
from asciid.logs._refusals import RefusalLog

__all__ = [
    "ImageLog",
    "RefusalLog",
    "event_from",
    "pass_on",
    "restyle_twistd",
]
