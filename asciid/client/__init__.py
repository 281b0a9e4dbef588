"""
The client side of asciid: the ``asciid`` command line.

``cli``            the command group and the console entry point
``_cli_simulate``  ``asciid simulate``: its options
``_simulate``      what a simulation does with a server
``_requests``      requests to one server, on treq
``_art``           figlet art
``_log``           log lines in logrus's formats
``_run``           a reactor run that ends with an exit code
"""
