"""asciid hosts ASCII art over HTTP: register, upload in chunks, download."""

__all__ = ["__version__"]

__version__ = "0.1.0"
