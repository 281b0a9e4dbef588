"""What the daemon tells its operator: the log, and the access log."""

from asciid.logs._access import AccessLog, access_writer
from asciid.logs._completions import CompletionLog
from asciid.logs._observers import restyle_twistd
from asciid.logs._passing import event_from, pass_on
from asciid.logs._refusals import RefusalLog

__all__ = [
    "AccessLog",
    "CompletionLog",
    "RefusalLog",
    "access_writer",
    "event_from",
    "pass_on",
    "restyle_twistd",
]
