"""The tokens that let their bearers write, from a file."""

from __future__ import annotations

import os
import re
import stat
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.logger import Logger

from asciid.errors import AsciidError
from asciid.runtime.threads import call_in_pool

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from asciid.runtime.reactor import Reactor

__all__ = ["TokenFile", "TokenFileError"]

MAX_FILE = 64 * 1024
"""Bytes that the file may have."""

MAX_TOKENS = 1_000
"""Tokens that may be in it: each request is compared with all of them."""

_is_token = re.compile(rb"[A-Za-z0-9._~+/-]+=*").fullmatch

_log = Logger()


class TokenFileError(AsciidError):
    """The file cannot be used; the text says why, and holds nothing of it."""


@define(eq=False)
class TokenFile:
    """
    The file at `path`: a token a line, in the form token68 of RFC 9110, section 11.2.

    Blank lines and those that begin with ``#`` are left out.  Until `load`
    succeeds, no token is accepted.  What is kept of tokens are their digests.
    """

    path: Path
    quiet: bool = field(default=False, kw_only=True)
    """Whether another process warns of it if every user can read the file."""
    copy: int | None = field(default=None, kw_only=True)
    """The descriptor of a file to which valid tokens are copied."""
    _digests: tuple[bytes, ...] = field(init=False, default=(), repr=False)

    def load(self) -> None:
        """
        Read the file; warn if everybody on the machine can, unless `quiet`.

        Errors: `TokenFileError` if it cannot be read, has no token, or has a line
        that is none; the tokens are those of before then.
        """
        self._use(self._read())

    def _use(self, tokens: Iterable[bytes]) -> None:
        self._digests = tuple({sha256(token).digest() for token in tokens})
        if self.copy is not None:
            # A process that starts meanwhile finds some tokens, never none.
            lines = b"".join(b"%b\n" % token for token in tokens)
            os.pwrite(self.copy, lines, 0)
            os.ftruncate(self.copy, len(lines))

    def reload(self, reactor: Reactor) -> Deferred[bool]:
        """
        Read the file again, in a thread; if it cannot be used, log that.

        Answer whether it could be used; if not, nothing changes.
        """
        return call_in_pool(reactor, reactor.getThreadPool(), self._read).addCallbacks(
            self._reloaded, self._kept
        )

    def _reloaded(self, tokens: Iterable[bytes]) -> bool:
        self._use(tokens)
        _log.info(
            "Read {tokens} write tokens from {path}",
            tokens=len(self._digests),
            path=str(self.path),
        )
        return True

    def _kept(self, failure: Failure) -> bool:
        failure.trap(TokenFileError, OSError)
        _log.error(
            "keeping the write tokens: {path}: {error}",
            path=str(self.path),
            error=str(failure.value),
        )
        return False

    def accepts(self, token: bytes) -> bool:
        """Return whether `token` is in the file, in constant time."""
        digest = sha256(token).digest()
        accepted = False
        for known in self._digests:
            accepted |= compare_digest(digest, known)
        return accepted

    def _read(self) -> list[bytes]:
        try:
            mode = self.path.stat().st_mode
            if not stat.S_ISREG(mode):
                message = "it is not a regular file"
                raise TokenFileError(message)
            with self.path.open("rb") as file:
                content = file.read(MAX_FILE + 1)
        except OSError as error:
            message = error.strerror or type(error).__name__
            raise TokenFileError(message) from error
        tokens = _parse(content)
        if mode & (stat.S_IROTH | stat.S_IWOTH) and not self.quiet:
            _log.warn(
                "The write tokens in {path} are open to every user of this machine: "
                "chmod o-rwx",
                path=str(self.path),
            )
        return tokens


def _parse(content: bytes) -> list[bytes]:
    if len(content) > MAX_FILE:
        message = f"it is longer than {MAX_FILE} bytes"
        raise TokenFileError(message)
    tokens = []
    for number, line in enumerate(content.splitlines(), 1):
        token = line.strip()
        if not token or token.startswith(b"#"):
            continue
        if _is_token(token) is None:
            message = f"line {number} is no token (RFC 6750, section 2.1)"
            raise TokenFileError(message)
        tokens.append(token)
    if not 0 < len(tokens) <= MAX_TOKENS:
        message = f"it has {len(tokens)} tokens, not from 1 to {MAX_TOKENS}"
        raise TokenFileError(message)
    return tokens
