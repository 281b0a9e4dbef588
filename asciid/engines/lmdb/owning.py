"""The engine of the process that owns a storage directory and commits."""

from asciid.engines.lmdb._lmdb_engine import LMDBEngine
from asciid.engines.lmdb._peers import ALONE, IPeers

__all__ = ["ALONE", "IPeers", "LMDBEngine"]
