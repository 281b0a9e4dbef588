"""Errors that the front answers itself, with problem documents (RFC 9457)."""

from __future__ import annotations

import json
from http import HTTPStatus

__all__ = ["RefusedError", "default_problem", "reason_phrase"]


class RefusedError(Exception):
    """
    The front answers this request itself, and then closes the connection.

    :ivar status: the status code of the answer.
    :ivar detail: a sentence for the client's developer.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


def reason_phrase(status: int) -> str:
    """Return the standard phrase of a status code, empty for an unknown one."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def default_problem(status: int, detail: str) -> bytes:
    """
    Make a problem document without a type of its own.

    :param status: the status code of the answer.
    :param detail: a sentence on this very occurrence.
    """
    title = reason_phrase(status)
    document = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "code": f"{status} {title}",
        "message": detail,
    }
    return json.dumps(document).encode("ascii")
