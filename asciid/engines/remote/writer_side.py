"""What accepts the connections of workers in the writer."""

from asciid.engines.remote._writer_server import IWritingProcess, WriterServer

__all__ = ["IWritingProcess", "WriterServer"]
