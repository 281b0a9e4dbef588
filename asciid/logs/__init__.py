"""What the daemon tells its operator: the log, and the access log."""

from asciid.logs._observers import begin_logging, restyle_twistd

__all__ = ["begin_logging", "restyle_twistd"]
