"""
Administrative work on a storage directory; commands call `asciid.admin.storage`.

``owner``           becomes the owner of a storage, or asks the one there is
``control``         the socket on which the owner takes commands
``owner_commands``  what it does for them
``reader``          a process that reads the storage for it
``pace``            keeps reading to a rate
"""
