"""
The client side of asciid: the ``asciid`` command line.

``cli``            the command group and the console entry point
``_cli_simulate``  ``asciid simulate``: its options
``_simulate``      what a simulation does with a server
``_steps``         the steps of one image, each checked
``_plan``          how much there is to do, and what goes wrong on purpose
``_pace``          when images begin
``_tally``         how often and how fast each step went well
``_summary``       that as a value for programs
``_screen``        that as a table, and live on a terminal (rich)
``_report``        where the log and the table go
``_requests``      requests to one server, on treq
``_server``        the connections to that server
``_art``           figlet art
``_log``           log lines in logrus's formats
``_run``           a reactor run that ends with an exit code
"""
