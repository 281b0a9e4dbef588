"""
The service as it is, but under stock twisted.web instead of its own server.

    stock_site.py PORT STORAGE
"""

from __future__ import annotations

import sys
from pathlib import Path

from _quiet import serve
from twisted.internet import reactor

from asciid.api import ImageAPI
from asciid.engines.lmdb.owning import LMDBEngine
from asciid.metrics import Metrics, RequestCounts
from asciid.store import ImageStore


def main() -> None:
    """Serve."""
    engine = LMDBEngine(Path(sys.argv[2]), reactor=reactor)
    store = ImageStore(engine, reactor=reactor)
    store.start()
    reactor.addSystemEventTrigger("before", "shutdown", store.stop)
    metrics = Metrics(store, RequestCounts())
    api = ImageAPI(store, max_image_size=2**26, max_chunk_size=2**20, metrics=metrics)
    serve(api.app.resource())


if __name__ == "__main__":
    main()
