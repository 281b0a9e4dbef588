"""One of several processes: ``python -m asciid.workers worker`` or ``writer``."""

import os
import sys

from asciid.config import resolve
from asciid.workers._process import run
from asciid.workers._worker import Worker
from asciid.workers._writer import Writer

if __name__ == "__main__":
    make = Writer if sys.argv[1] == "writer" else Worker
    run(make, resolve({}, os.environ))
