"""Makes ``twistd asciid`` known to twistd."""

import sys

from twisted.application.service import ServiceMaker

from asciid._signals import shield_startup

if "asciid" in sys.argv[1:]:
    # twistd imports the plugins of every service for each command, and this is the
    # first code of asciid to run.
    shield_startup()

asciid = ServiceMaker(
    "asciid",
    "asciid.tap",
    "Host ASCII art over HTTP.",
    "asciid",
)
