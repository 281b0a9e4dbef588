"""The service from the environment alone: twistd --nodaemon --python asciid.tac."""

from asciid._signals import shield_startup

shield_startup()  # before the imports that take time

from twisted.application.service import Application  # noqa: E402

from asciid.tap import Options, makeService  # noqa: E402

options = Options()
options.parseOptions([])
application = Application("asciid")
makeService(options).setServiceParent(application)
