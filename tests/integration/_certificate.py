"""Certificates of this machine, made by the test that needs them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["write_certificate", "write_chain"]


def write_certificate(directory: Path, hours: int = 1) -> None:
    """Write ``key.pem`` and ``cert.pem``, valid for some hours, into `directory`."""
    key = ec.generate_private_key(ec.SECP256R1())
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    name = _named("127.0.0.1")
    certificate = _signed(name, key, (name, key), address, hours)
    _write(directory / "key.pem", key)
    (directory / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))


def write_chain(directory: Path) -> None:
    """Write ``ca.pem``, and ``key.pem`` and ``cert.pem`` of localhost signed by it."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _named("Authority of a test")
    is_authority = x509.BasicConstraints(ca=True, path_length=0)
    issuer = authority, authority_key
    root = _signed(*issuer, issuer, is_authority)
    key = ec.generate_private_key(ec.SECP256R1())
    host = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    certificate = _signed(_named("localhost"), key, issuer, host)
    _write(directory / "key.pem", key)
    (directory / "ca.pem").write_bytes(root.public_bytes(Encoding.PEM))
    (directory / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _signed(
    name: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: tuple[x509.Name, ec.EllipticCurvePrivateKey],
    extension: x509.ExtensionType,
    hours: int = 1,
) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer[0])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=hours))
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        .sign(issuer[1], hashes.SHA256())
    )


def _write(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(plain)
