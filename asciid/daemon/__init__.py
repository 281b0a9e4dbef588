"""
What a process of the daemon is made of.

``assembly``      composes the service of a process that speaks HTTP
``storing``       makes its engine
``host``          what the service runs in: reactor, signals, log, service manager
``housekeeping``  the periodic task
``announcement``  logs that the daemon serves, and what its settings risk
"""
