"""
The engine that keeps images in an LMDB file.

It exports nothing itself, as processes load only what they use:

``owning``       the engine, for the process that owns the storage and commits
``sharing``      for the others: the lock, and what answers queries
``maintenance``  work on a storage directory by commands
"""
