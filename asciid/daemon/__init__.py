"""
The parts of a process of the daemon.

``assembly``      composes the service of a process that speaks HTTP
``storing``       makes its engine
``host``          the environment of the service: reactor, signals, log, service manager
``housekeeping``  the periodic task
``announcement``  logs the start and the risks of settings
"""
