"""
Private keys and certificates of TLS endpoints, with reload.

TLS libraries are optional, and imported only for TLS endpoints.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.logger import Logger
from twisted.python.filepath import FilePath
from zope.interface import implementer

from asciid.errors import AsciidError
from asciid.net.description import Description
from asciid.runtime.text import reason_of
from asciid.runtime.threads import call_in_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cryptography import x509
    from OpenSSL.SSL import Context
    from twisted.internet.defer import Deferred
    from twisted.internet.ssl import CertificateOptions
    from twisted.python.failure import Failure

    from asciid.runtime.reactor import Reactor

__all__ = [
    "Certificate",
    "Identity",
    "TLSFileError",
    "load_identity",
    "tls_files",
    "with_files",
]

_MAX_FILE = 1024 * 1024

_log = Logger()


class TLSFileError(AsciidError):
    """A file of a TLS endpoint is unusable; the text has its name and the reason."""


@frozen
class Identity:
    """A private key and its certificates, as loaded."""

    context_factory: Any
    """A context factory for Twisted's ``listenSSL``."""
    expires: float
    """When the first certificate of the chain expires, in seconds since the epoch."""


def tls_files(description: str) -> Mapping[str, Path]:
    """
    Return the files of the endpoint `description` by parameter name.

    They are ``privateKey``, ``certKey`` and, if given, ``extraCertChain``; an endpoint
    without TLS has none.
    """
    parsed = Description.parse(description)
    if parsed.kind != "ssl":
        return {}
    values = parsed.values
    key = values.get("privateKey", "server.pem")
    files = {"privateKey": key, "certKey": values.get("certKey", key)}
    if "extraCertChain" in values:
        files["extraCertChain"] = values["extraCertChain"]
    return {name: Path(file) for name, file in files.items()}


def with_files(description: str, files: Mapping[str, Path]) -> str:
    """Return `description` with other files; the keys are those of `tls_files`."""
    parsed = Description.parse(description)
    named = {name: str(path) for name, path in files.items()}
    return parsed.with_values(parsed.kind, {**parsed.values, **named}).text


def load_identity(description: str) -> Identity:
    """
    Load the files of a TLS endpoint.

    Errors: `TLSFileError`.
    """
    from cryptography import x509  # noqa: PLC0415 - optional

    files = tls_files(description)
    content = {name: read_file(name, path) for name, path in files.items()}
    certificates = [
        certificate
        for name in ("certKey", "extraCertChain")
        if name in content
        for certificate in _used_certificates(
            name, x509.load_pem_x509_certificates, files[name], content[name]
        )
    ]
    _check_key(files, content["privateKey"], certificates[0])
    try:
        context_factory = _context_factory(description, content, certificates)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"cannot load the TLS files: {reason}"
        raise TLSFileError(message) from error
    expires = min(each.not_valid_after_utc.timestamp() for each in certificates)
    return Identity(context_factory, expires)


def _context_factory(
    description: str,
    content: Mapping[str, bytes],
    certificates: Sequence[x509.Certificate],
) -> CertificateOptions:
    """Return a factory of TLS contexts, as Twisted's endpoint ``ssl:`` makes it."""
    from OpenSSL import SSL, crypto  # noqa: PLC0415 - optional
    from twisted.internet import ssl  # noqa: PLC0415 - likewise

    values = Description.parse(description).values
    options: dict[str, Any] = {}
    if "sslmethod" in values:
        options["method"] = getattr(SSL, values["sslmethod"])
    if "dhParameters" in values:
        path = FilePath(values["dhParameters"])
        options["dhParameters"] = ssl.DiffieHellmanParameters.fromFile(path)
    first, *chain = map(crypto.X509.from_cryptography, certificates)
    factory = ssl.CertificateOptions(
        privateKey=crypto.load_privatekey(crypto.FILETYPE_PEM, content["privateKey"]),
        certificate=first,
        extraCertChain=chain,
        **options,
    )
    factory.getContext()
    return factory


@implementer(IOpenSSLContextFactory)
@define(eq=False)
class Certificate:
    """
    The certificate of one TLS endpoint; `reload` replaces it for new connections.

    `description` is that of the endpoint.  The constructor reads the files.

    Errors: `TLSFileError`.
    """

    description: str
    _identity: Identity = field(init=False)

    @_identity.default
    def _(self) -> Identity:
        return load_identity(self.description)

    @property
    def expires(self) -> float:
        """See `Identity.expires`."""
        return self._identity.expires

    def getContext(self) -> Context:
        """Return the context for a new connection; called by Twisted."""
        context: Context = self._identity.context_factory.getContext()
        return context

    def reload(self, reactor: Reactor) -> Deferred[bool]:
        """
        Read the files again, in a thread; fire with whether they are usable.

        If not, the certificate is kept and the reason logged.  Open connections keep
        their certificate.
        """
        pool = reactor.getThreadPool()
        return call_in_pool(
            reactor, pool, load_identity, self.description
        ).addCallbacks(self._use, self._keep)

    def _use(self, identity: Identity) -> bool:
        self._identity = identity
        path = tls_files(self.description)["certKey"]
        _log.info("loaded the certificate in {path}", path=str(path))
        return True

    def _keep(self, failure: Failure) -> bool:
        failure.trap(TLSFileError, OSError)
        reason = reason_of(failure.value)
        _log.error("keeping the previous certificate: {reason}", reason=reason)
        return False


def read_file(name: str, path: Path) -> bytes:
    """
    Return the content of the file of parameter `name`.

    Errors: `TLSFileError`.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            message = f"{name} {path} is not a regular file"
            raise TLSFileError(message)
        with path.open("rb") as file:
            content = file.read(_MAX_FILE + 1)
    except OSError as error:
        message = f"cannot read {name} {path}: {error.strerror}"
        raise TLSFileError(message) from error
    if len(content) > _MAX_FILE:
        message = f"{name} {path} is too large (limit {_MAX_FILE} bytes)"
        raise TLSFileError(message)
    return content


def _used_certificates(
    name: str,
    load: Callable[[bytes], list[x509.Certificate]],
    path: Path,
    content: bytes,
) -> list[x509.Certificate]:
    try:
        certificates = load(content)
    except ValueError as error:
        message = f"no PEM certificate in {name} {path}"
        raise TLSFileError(message) from error
    # Twisted uses only the first certificate of this file.
    return certificates[:1] if name == "certKey" else certificates


def _check_key(
    files: Mapping[str, Path], content: bytes, certificate: x509.Certificate
) -> None:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - optional

    path = files["privateKey"]
    if b"PRIVATE KEY-----" not in content:
        message = f"no PEM private key in privateKey {path}"
        raise TLSFileError(message)
    try:
        key = serialization.load_pem_private_key(content, None)
    except TypeError as error:  # asks for a passphrase
        message = f"encrypted private key not supported: privateKey {path}"
        raise TLSFileError(message) from error
    except ValueError as error:
        message = f"invalid private key in privateKey {path}"
        raise TLSFileError(message) from error
    if key.public_key() != certificate.public_key():
        message = (
            f"the private key in {path} is not that of the certificate in "
            f"{files['certKey']}"
        )
        raise TLSFileError(message)
