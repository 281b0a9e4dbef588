"""The file of tokens that authorize writes."""

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
from asciid.runtime.text import reason_of
from asciid.runtime.threads import call_in_pool

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from asciid.runtime.reactor import Reactor

__all__ = ["TokenFile", "TokenFileError"]

MAX_FILE = 64 * 1024
"""Maximum size of the file in bytes."""

MAX_TOKENS = 1_000
"""Maximum number of tokens: each request is compared with all of them."""

_is_token = re.compile(rb"[A-Za-z0-9._~+/-]+=*").fullmatch

_log = Logger()


class TokenFileError(AsciidError):
    """The file is unusable; the text has the reason, and nothing of its content."""


@define(eq=False)
class TokenFile:
    """
    The file at `path`: one token68 (RFC 9110, section 11.2) per line.

    Ignores blank lines and lines that start with ``#``.  Until `load` succeeds, no
    token is accepted.  Only digests of the tokens are kept in memory.
    """

    path: Path
    quiet: bool = field(default=False, kw_only=True)
    """Whether another process warns if every user can read the file."""
    copy: int | None = field(default=None, kw_only=True)
    """Descriptor of a file to which `load` copies the tokens once they are valid."""
    _digests: tuple[bytes, ...] = field(init=False, default=(), repr=False)

    def load(self) -> None:
        """
        Read the file; warn if every user of the machine can read it, unless `quiet`.

        Errors: `TokenFileError` if it cannot be read, has no token, or a line is
        malformed; the tokens stay unchanged then.
        """
        self._use(self._read())

    def _use(self, tokens: Iterable[bytes]) -> None:
        self._digests = tuple({sha256(token).digest() for token in tokens})
        if self.copy is not None:
            # Never truncated before the write: a starting process must find tokens.
            lines = b"".join(b"%b\n" % token for token in tokens)
            os.pwrite(self.copy, lines, 0)
            os.ftruncate(self.copy, len(lines))

    def reload(self, reactor: Reactor) -> Deferred[bool]:
        """
        Read the file again, in a thread; log an error if it is unusable.

        Fires with whether it was usable; if not, the tokens stay unchanged.
        """
        return call_in_pool(reactor, reactor.getThreadPool(), self._read).addCallbacks(
            self._reloaded, self._kept
        )

    def _reloaded(self, tokens: Iterable[bytes]) -> bool:
        self._use(tokens)
        _log.info(
            "loaded {tokens} write tokens from {path}",
            tokens=len(self._digests),
            path=str(self.path),
        )
        return True

    def _kept(self, failure: Failure) -> bool:
        failure.trap(TokenFileError, OSError)
        _log.error(
            "keeping the previous write tokens: {path}: {error}",
            path=str(self.path),
            error=reason_of(failure.value, named=str(self.path)),
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
                message = "not a regular file"
                raise TokenFileError(message)
            with self.path.open("rb") as file:
                content = file.read(MAX_FILE + 1)
        except OSError as error:
            message = error.strerror or type(error).__name__
            raise TokenFileError(message) from error
        tokens = _parse(content)
        if mode & (stat.S_IROTH | stat.S_IWOTH) and not self.quiet:
            _log.warn(
                "write tokens in {path} are readable by all users: run chmod o-rwx",
                path=str(self.path),
            )
        return tokens


def _parse(content: bytes) -> list[bytes]:
    if len(content) > MAX_FILE:
        message = f"file too large (limit {MAX_FILE} bytes)"
        raise TokenFileError(message)
    tokens = []
    for number, line in enumerate(content.splitlines(), 1):
        token = line.strip()
        if not token or token.startswith(b"#"):
            continue
        if _is_token(token) is None:
            message = f"line {number}: malformed token (RFC 6750, section 2.1)"
            raise TokenFileError(message)
        tokens.append(token)
    if not 0 < len(tokens) <= MAX_TOKENS:
        message = f"{len(tokens)} tokens, must be 1 to {MAX_TOKENS}"
        raise TokenFileError(message)
    return tokens
