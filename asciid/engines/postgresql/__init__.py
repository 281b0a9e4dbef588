"""The engine that keeps images in a PostgreSQL database, which several nodes share."""

from asciid.engines.postgresql._connecting import Connector, Database
from asciid.engines.postgresql._postgresql_engine import PostgreSQLEngine
from asciid.engines.postgresql._removal_listener import SOLE_NODE

__all__ = ["SOLE_NODE", "Connector", "Database", "PostgreSQLEngine"]
