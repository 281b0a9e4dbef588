"""Addresses of images: the first digits of the hash, and what is wanted of it."""

from __future__ import annotations

import re

from attrs import frozen
from werkzeug.exceptions import NotFound

__all__ = ["ImageAddress", "parse_address", "parse_page_path"]

# At least 12 digits: of fewer, many images would share them.
_split = re.compile(r"([0-9A-Fa-f]{12,64})(?:\.(svg|png|css|txt))?").fullmatch
_split_page = re.compile(r"/i/([0-9A-Fa-f]{12,64})(?:/embed)?(?:[?#].*)?").fullmatch


@frozen
class ImageAddress:
    """An image as it is addressed."""

    digits: str
    """12 to 64 lower-case hex digits, the first ones of the hash."""
    suffix: str
    """Such as ``svg``; empty for the page."""


def parse_address(name: str) -> ImageAddress:
    """
    Return the address in a path segment, such as ``0123456789ab.svg``.

    Errors: `NotFound`.
    """
    match = _split(name)
    if match is None:
        raise NotFound
    return ImageAddress(match[1].lower(), match[2] or "")


def parse_page_path(path: str) -> ImageAddress:
    """
    Return the address in the path of the page of an image, or of its frame.

    Errors: `NotFound`.
    """
    match = _split_page(path)
    if match is None:
        raise NotFound
    return ImageAddress(match[1].lower(), "")
