"""
The ``asciid`` command: one module a command, which `asciid.cli.main` puts together.

``_server``           what the commands that speak to a server have in common
``_storage_options``  what the commands on a storage have in common
``_bar``              a progress bar, which ``_rich_bar`` draws
``_filter``           what of a text, or of a name, a terminal may be shown
``_reporting``        prints what a command has done
``_run``              a reactor run that ends with an exit code
``manual``            docs/client.md, made of what ``--help`` says
"""
