"""
Several processes that serve one port.

A parent binds the port and supervises the others.  Workers serve HTTP and read the
storage.  One writer commits for all of them: writers of one file wait for each
other, and the more they are, the fewer operations share a commit.
"""
