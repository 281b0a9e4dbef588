"""
Administrative work on a storage directory, with a daemon on it or without.

``storage``         the commands verify, backup and compact
``control``         the command socket of the owner of a storage
``owner_commands``  the owner's side of the commands
``reader``          the process that reads the storage for them
"""
