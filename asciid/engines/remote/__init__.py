"""The engine of a worker: reads the storage file, sends operations to the writer."""

from asciid.engines._queue_size import QueueSize
from asciid.engines.remote._batch_delay import BatchDelay
from asciid.engines.remote._remote_engine import ILocalReader, RemoteEngine
from asciid.engines.remote._writer_client import (
    UNANSWERED_BYTES,
    IMetricsSource,
    WriterClient,
)
from asciid.engines.remote._writer_server import IWritingProcess, WriterServer

__all__ = [
    "UNANSWERED_BYTES",
    "BatchDelay",
    "ILocalReader",
    "IMetricsSource",
    "IWritingProcess",
    "QueueSize",
    "RemoteEngine",
    "WriterClient",
    "WriterServer",
]
