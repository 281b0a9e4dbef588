"""How large the bodies of requests may be."""

from __future__ import annotations

from attrs import frozen

__all__ = ["STREAMED", "InputLimits"]

STREAMED = 256 * 1024
"""Bytes that a body holds at most if its handler receives it as it arrives."""

# Maximum body of a registration without an about: five members with every character
# escaped, some white space, and unknown members.
_MAX_REGISTRATION_BODY = 16 * 1024
# Likewise of an about, whose texts have up to 3,100 bytes.
_MAX_ABOUT_BODY = 24 * 1024


@frozen
class InputLimits:
    """Limits on requests; larger ones get 413."""

    max_image_size: int
    """Maximum bytes of an image."""
    max_chunk_size: int
    """Maximum bytes of a chunk."""

    @property
    def max_registration_body(self) -> int:
        """Maximum bytes of the JSON of a registration."""
        return _MAX_REGISTRATION_BODY + _MAX_ABOUT_BODY

    @property
    def max_about_body(self) -> int:
        """Maximum bytes of the JSON of what is said about an image."""
        return _MAX_ABOUT_BODY

    @property
    def max_chunk_body(self) -> int:
        r"""Maximum bytes of the JSON of a chunk.

        A control character is one byte of the image and six of JSON
        (``\\u001b``).
        """
        return 6 * self.max_chunk_size + _MAX_REGISTRATION_BODY
