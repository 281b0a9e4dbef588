"""
The same Klein app as in `empty_klein`, served by `asciid.http`.

    empty_ours.py PORT
"""

import sys

from _empty_app import app
from twisted.internet import reactor

from asciid.http import KleinFactory

reactor.listenTCP(
    int(sys.argv[1]),
    KleinFactory(app, reactor=reactor),
    backlog=1024,
    interface="127.0.0.1",
)
reactor.run()
