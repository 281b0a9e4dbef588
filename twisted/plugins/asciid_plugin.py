"""Makes ``twistd asciid`` known to twistd."""

from twisted.application.service import ServiceMaker

asciid = ServiceMaker(
    "asciid",
    "asciid.tap",
    "Host ASCII art over HTTP.",
    "asciid",
)
