"""Runs a worker or the writer: ``python -P -m asciid.workers worker``."""

import os
import sys

from asciid.config.settings import (
    choose_settings,
    endpoints_in,
    parse_settings,
    settings_of,
)
from asciid.net.openssl import leave_out_openssl

if __name__ == "__main__":
    is_writer = sys.argv[1] == "writer"
    environ = dict(os.environ)
    if is_writer:
        # It listens on no port, and has not inherited the copies of certificates.
        environ |= {"ASCIID_PORT": "0", "ASCIID_METRICS_PORT": "none"}
    chosen = choose_settings({}, environ)
    leave_out_openssl(endpoints_in(chosen))
    settings = settings_of(parse_settings(chosen))
    from asciid.workers._child import run

    # Each imports only what it needs.
    if is_writer:
        from asciid.workers._writer import Writer

        run(Writer, settings)
    else:
        from asciid.workers._worker import Worker

        run(Worker, settings)
