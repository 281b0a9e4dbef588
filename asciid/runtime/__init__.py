"""
What any process runs on: Python, Twisted and the operating system.

``reactor``          the type of reactors that are parameters
``threads``          thread pools that start with all their threads
``offload``          runs work that would hold the reactor for too long
``client_scheduler`` shares the reactor's time among clients
``tuning``           tunes Python and Twisted for a daemon
``malloc``           returns free memory to the system
``frames``           ends reference cycles of exceptions
``descriptors``      how many file descriptors and connections there may be
``streams``          standard input, output and error
``signals``          signal handlers of a daemon
``journal``          recognises the journal of systemd
``sd_notify``        reports to the service manager
``histogram``        a histogram that is cheap to add to
``niceness``         lets other processes go first
``cache``            a cache bounded by bytes
``text``             makes text safe for one line of a log
"""
