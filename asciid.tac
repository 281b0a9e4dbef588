"""The service from the environment alone: twistd --nodaemon --python asciid.tac."""

from asciid.runtime.signals import shield_startup
from asciid.runtime.streams import occupy_standard_descriptors

shield_startup()  # before the imports that take time
occupy_standard_descriptors()  # before the reactor is imported

from twisted.application.service import Application  # noqa: E402

from asciid.tap import Options, makeService  # noqa: E402

options = Options()
options.parseOptions([])
application = Application("asciid")
makeService(options).setServiceParent(application)
