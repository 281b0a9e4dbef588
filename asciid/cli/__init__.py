"""
The ``asciid`` command: one module per subcommand, dispatched by `asciid.cli.main`.

``_server``           options and error handling of commands that use a server
``_storage_options``  options and error handling of commands on a storage
``_editing``          the edit key of an image, for commands that change it
``_saved_keys``       keeps edit keys in files
``_about_options``    options that say something about an image
``_bar``              a progress bar, which ``_rich_bar`` draws
``_filter``           removes control characters from terminal output
``_reporting``        prints results
``_run``              runs the reactor until a command ends; returns its exit code
``manual``            generates docs/client.md from ``--help``
"""
