"""The engine of a worker, and its connection to the writer."""

from asciid.engines._queue_size import QueueSize
from asciid.engines.remote._remote_engine import ILocalReader, RemoteEngine
from asciid.engines.remote._writer_client import (
    UNANSWERED_BYTES,
    IMetricsSource,
    WriterClient,
)

__all__ = [
    "UNANSWERED_BYTES",
    "ILocalReader",
    "IMetricsSource",
    "QueueSize",
    "RemoteEngine",
    "WriterClient",
]
