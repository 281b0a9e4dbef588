"""Copies private keys and certificates to memory that processes inherit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.logger import Logger

from asciid.net.tls import TLSFileError, load_identity, read_file, tls_files, with_files
from asciid.runtime.text import reason_of
from asciid.runtime.threads import call_in_pool

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from asciid.config.settings import Settings
    from asciid.runtime.reactor import Reactor

__all__ = ["CertificateCopies"]

_log = Logger()


@define(eq=False)
class CertificateCopies:
    """
    Valid copies of the files of the TLS endpoints in `settings`.

    They are files in memory; in a process that inherits them they are the descriptors
    from `first` on.
    """

    settings: Settings
    first: int
    descriptors: Sequence[int] = field(init=False, default=())
    """The descriptors here, in the order in which they are inherited."""
    _endpoints: Mapping[str, str] = field(init=False)

    @_endpoints.default
    def _(self) -> Mapping[str, str]:
        """Return the descriptions of endpoints of TLS by the names of the variables."""
        named = {
            "ASCIID_PORT": self.settings.port,
            "ASCIID_METRICS_PORT": self.settings.metrics_port,
        }
        return {
            name: description
            for name, description in named.items()
            if description is not None and tls_files(description)
        }

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables by which a process that inherits the copies uses them."""
        inherited = iter(range(self.first, self.first + self._count))
        return {
            name: with_files(
                description,
                {file: _path(next(inherited)) for file in tls_files(description)},
            )
            for name, description in self._endpoints.items()
        }

    def load(self) -> None:
        """
        Copy the files.

        Errors: `TLSFileError`; then the copies stay as they were.
        """
        self._use(_copied(self._endpoints.values()))

    async def reload(self, reactor: Reactor) -> None:
        """Copy the files in a thread; if they cannot be used, log why."""
        if not self._endpoints:
            return
        try:
            descriptors = await call_in_pool(
                reactor, reactor.getThreadPool(), _copied, self._endpoints.values()
            )
        except (TLSFileError, OSError) as error:
            reason = reason_of(error)
            _log.error("keeping the previous certificate: {reason}", reason=reason)
        else:
            self._use(descriptors)
            _log.info("loaded the certificates of TLS endpoints")

    def close(self) -> None:
        """Close the copies; a process that has inherited them keeps them."""
        descriptors, self.descriptors = self.descriptors, ()
        _close(descriptors)

    def _use(self, descriptors: Sequence[int]) -> None:
        self.close()
        self.descriptors = descriptors

    @property
    def _count(self) -> int:
        return sum(map(len, map(tls_files, self._endpoints.values())))


def _copied(descriptions: Iterable[str]) -> Sequence[int]:
    """
    Return the descriptors of copies of the files of endpoints.

    Errors: `TLSFileError`.
    """
    descriptors: list[int] = []
    try:
        for description in descriptions:
            copies = {}
            for name, path in tls_files(description).items():
                descriptors.append(os.memfd_create(f"asciid-{name}"))
                os.write(descriptors[-1], read_file(name, path))
                copies[name] = _path(descriptors[-1])
            _check(description, copies)
    except BaseException:
        _close(descriptors)
        raise
    return descriptors


def _check(description: str, copies: Mapping[str, Path]) -> None:
    """Check the copies; an error names the original files."""
    try:
        load_identity(with_files(description, copies))
    except TLSFileError as error:
        text = str(error)
        for name, path in tls_files(description).items():
            text = text.replace(str(copies[name]), str(path))
        raise TLSFileError(text) from error


def _path(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}")


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
