"""The log of the daemon, and the access log (`asciid.logs.access`)."""

from asciid.logs._append import write_lines
from asciid.logs._images import ImageLog
from asciid.logs._line_writer import LineWriter, lost_lines
from asciid.logs._observers import TwistdLog, restyle_twistd
from asciid.logs._passing import event_from, pass_on
from asciid.logs._refusal_log import RefusalLog

__all__ = [
    "ImageLog",
    "LineWriter",
    "RefusalLog",
    "TwistdLog",
    "event_from",
    "lost_lines",
    "pass_on",
    "restyle_twistd",
    "write_lines",
]
