"""The engine that keeps images in a PostgreSQL database, which several nodes share."""

from asciid.engines.postgresql._connecting import Connector, Database
from asciid.engines.postgresql._database_source import open_source
from asciid.engines.postgresql._database_target import open_target
from asciid.engines.postgresql._postgresql_engine import PostgreSQLEngine
from asciid.engines.postgresql._removal_listener import SOLE_NODE

__all__ = [
    "SOLE_NODE",
    "Connector",
    "Database",
    "PostgreSQLEngine",
    "open_source",
    "open_target",
]
