"""The service from the environment alone: twistd --nodaemon --python asciid.tac."""

from twisted.application.service import Application

from asciid.tap import Options, makeService

options = Options()
options.parseOptions([])
application = Application("asciid")
makeService(options).setServiceParent(application)
