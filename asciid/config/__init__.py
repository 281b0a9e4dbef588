"""
The settings: options, environment variables and the configuration file.

``settings``       the settings in force, typed, and where each is from
``values``         turns what users write into values
``tokens``         the tokens that writes need, from a file that may change
``usage``          the text of ``twistd asciid --help``
``service_links``  recognises the variables that Kubernetes sets for Services
"""
