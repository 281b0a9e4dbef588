"""
Web pages: what each shows, their templates, and their static files.

``pages``    the contents of each page, as plain values
``_markup``  their HTML; only the process that renders imports it
"""

from asciid.web._assets import STATIC_PATH, static_files

__all__ = ["STATIC_PATH", "static_files"]
