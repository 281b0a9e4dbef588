"""The settings: options, environment variables and the configuration file."""
