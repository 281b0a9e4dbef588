"""
Administrative work on a storage, with a daemon on it or without.

``storage``         the commands on a storage directory
``storage_copy``    the command that copies one storage to another
``database``        the commands on a database
``control``         the command socket of the owner of a storage
``owner_commands``  the owner's side of verify, backup and compact
``moderation``      the owner's side of block, unblock and blocked
``reader``          the process that reads the storage for them
"""
