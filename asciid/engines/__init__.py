"""Engines: where the operations and queries of `asciid.store` are carried out."""
