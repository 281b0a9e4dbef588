"""Makes ``twistd asciid`` known to twistd."""

import sys

from twisted.application.service import ServiceMaker

from asciid.runtime.signals import shield_startup
from asciid.runtime.streams import occupy_standard_descriptors

if "asciid" in sys.argv[1:]:
    # twistd imports the plugins of every service for each command, and this is the
    # first code of asciid to run.
    shield_startup()
    # The reactor, which comes next, would get their numbers, and lose them again when
    # twistd goes to the background.
    occupy_standard_descriptors()

asciid = ServiceMaker(
    "asciid",
    "asciid.tap",
    "Host ASCII art over HTTP.",
    "asciid",
)
