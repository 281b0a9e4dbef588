"""
Administrative work on a storage directory, with a daemon on it or without.

``storage``         verifies, backs up and compacts: what commands call
``control``         the socket on which the owner of a storage takes commands
``owner_commands``  what the owner does for them
``reader``          a process that reads the storage for the owner
"""
