"""One of several processes: ``python -P -m asciid.workers worker`` or ``writer``."""

import os
import sys

from asciid.config.settings import resolve
from asciid.workers._child import run

if __name__ == "__main__":
    # What one of them needs, the other does without.
    if sys.argv[1] == "writer":
        from asciid.workers._writer import Writer

        # It listens on no port, and has not inherited what one of TLS needs.
        ports = {"ASCIID_PORT": "tcp:0", "ASCIID_METRICS_PORT": "none"}
        run(Writer, resolve({}, {**os.environ, **ports}))
    else:
        from asciid.workers._worker import Worker

        run(Worker, resolve({}, os.environ))
