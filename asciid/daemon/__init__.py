"""
What a process of the daemon is made of.

``assembly``      puts the parts of a process together, as the settings say
``storing``       makes its store
``service``       the daemon as a Twisted service
``shares``        the share of the settings' limits that each process has
``housekeeping``  the periodic task
``announcement``  logs that the daemon serves, and what its settings risk
"""
