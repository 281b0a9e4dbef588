"""Style sheet, scripts and icon of the pages, by names that change with the content."""

from __future__ import annotations

import re
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import PurePath

from asciid.art.stylesheets import cell_stylesheet

__all__ = ["STATIC_PATH", "static_files", "static_paths"]

STATIC_PATH = "/static/"
"""The path below which the files are served."""

_DIGITS = 12


_leave_out = re.compile(r"^\s*/\*.*?\*/\n|^[ \t]+|^\n", re.MULTILINE | re.DOTALL).sub
"""Removes comments that begin a line, indentation and empty lines."""


@cache
def _named() -> dict[str, tuple[str, bytes]]:
    named = {}
    for entry in (files("asciid.web") / "static").iterdir():
        text = _leave_out("", entry.read_text(encoding="utf-8"))
        if entry.name == "style.css":
            text = (cell_stylesheet() + text).replace("}\n", "}")
        text = text.replace(";\n", ";").replace("{\n", "{")
        content = text.encode("utf-8")
        name = PurePath(entry.name)
        digits = sha256(content).hexdigest()[:_DIGITS]
        named[entry.name] = f"{name.stem}-{digits}{name.suffix}", content
    return named


def static_files() -> dict[str, bytes]:
    """
    Return the content of each file by its name below `STATIC_PATH`.

    The name has a hash of the content, so a response may be cached forever (RFC 8246).
    """
    return dict(_named().values())


def static_paths() -> dict[str, str]:
    """Return the path of each file, such as ``/static/style-0a1b2c3d4e5f.css``."""
    return {name: STATIC_PATH + hashed for name, (hashed, _) in _named().items()}
