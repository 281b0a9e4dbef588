"""Runs a worker or the writer: ``python -P -m asciid.workers worker``."""

import os
import sys

from asciid.config.settings import resolve
from asciid.workers._child import run

if __name__ == "__main__":
    # Each imports only what it needs.
    if sys.argv[1] == "writer":
        from asciid.workers._writer import Writer

        # It listens on no port, and has not inherited the copies of certificates.
        ports = {"ASCIID_PORT": "tcp:0", "ASCIID_METRICS_PORT": "none"}
        run(Writer, resolve({}, {**os.environ, **ports}))
    else:
        from asciid.workers._worker import Worker

        run(Worker, resolve({}, os.environ))
