"""The files of TLS endpoints."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import quoteStringArgument
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from asciid.config.settings import SettingError, Settings, resolve
from asciid.daemon.assembly import certificates_of
from asciid.net.listener import StartError
from asciid.net.tls import (
    Certificate,
    TLSFileError,
    load_identity,
    tls_files,
    with_files,
)
from asciid.testing import ManualReactor, ManualThreadPool, run
from asciid.workers._certificates import CertificateCopies
from tests.integration._certificate import write_certificate


class PooledReactor(ManualReactor):
    """A reactor with a pool that is stepped by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = ManualThreadPool()

    def getThreadPool(self) -> ManualThreadPool:
        """Return the pool."""
        return self.pool


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


class TLSTestCase(SynchronousTestCase):
    """Has a key and a certificate."""

    def setUp(self) -> None:
        """Write them."""
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        write_certificate(self.directory)
        self.key, self.certificate = (
            self.directory / name for name in ("key.pem", "cert.pem")
        )

    def endpoint(self, **files: Path) -> str:
        """Return the description of an endpoint."""
        named = {"privateKey": self.key, "certKey": self.certificate, **files}
        arguments = [f":{n}={quoteStringArgument(str(p))}" for n, p in named.items()]
        return f"ssl:0{''.join(arguments)}"


class FileTests(TLSTestCase):
    """An error names the file, in the error of the setting."""

    def assert_refused(self, reason: str, **files: Path) -> None:
        """Check that the setting is refused for a reason."""
        endpoint = self.endpoint(**files)
        error = self.assertRaises(SettingError, resolve, {"port": endpoint}, {})
        self.assertEqual(str(error), f"--port: {endpoint!r}: {reason}")

    def test_good(self) -> None:
        """Usable files are loaded, with their expiry."""
        self.assertEqual(resolve({"port": self.endpoint()}, {}).port, self.endpoint())
        lasts = load_identity(self.endpoint()).expires - datetime.now(UTC).timestamp()
        self.assertTrue(3500 < lasts < 3700, lasts)

    def test_missing(self) -> None:
        """A file that is not there is named."""
        nowhere = self.directory / "nowhere"
        for name in ("privateKey", "certKey", "extraCertChain"):
            self.assert_refused(
                f"cannot read {name} {nowhere}: No such file or directory",
                **{name: nowhere},
            )

    def test_default(self) -> None:
        """Without a name it is the file that Twisted would read."""
        error = self.assertRaises(SettingError, resolve, {"port": "ssl:0"}, {})
        self.assertIn("cannot read privateKey server.pem: No such file", str(error))

    def test_no_key(self) -> None:
        """A file without a key is no private key."""
        self.assert_refused(
            f"no PEM private key in privateKey {self.certificate}",
            privateKey=self.certificate,
        )

    def test_broken_key(self) -> None:
        """Nor is one that was cut short."""
        self.key.write_bytes(self.key.read_bytes()[:-60])
        self.assert_refused(f"invalid private key in privateKey {self.key}")

    def test_no_certificate(self) -> None:
        """A file without a certificate is an error."""
        for name in ("certKey", "extraCertChain"):
            self.assert_refused(
                f"no PEM certificate in {name} {self.key}", **{name: self.key}
            )

    def test_another_key(self) -> None:
        """A key of another certificate is found out before a client does."""
        old = self.directory / "old.pem"
        self.key.rename(old)
        write_certificate(self.directory)
        self.assert_refused(
            f"the private key in {old} is not that of the certificate in "
            f"{self.certificate}",
            privateKey=old,
        )

    def test_encrypted(self) -> None:
        """A key with a passphrase is refused without a prompt."""
        key = serialization.load_pem_private_key(self.key.read_bytes(), None)
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            )
        )
        self.assert_refused(
            f"encrypted private key not supported: privateKey {self.key}"
        )

    def test_kinds_of_files(self) -> None:
        """A directory, a pipe without a writer, or an endless file is refused."""
        pipe, large = self.directory / "pipe", self.directory / "large"
        os.mkfifo(pipe)
        large.write_bytes(b"\n" * (2 << 20))
        for path, reason in (
            (pipe, "is not a regular file"),
            (self.directory, "is not a regular file"),
            (large, "is too large (limit 1048576 bytes)"),
        ):
            self.assert_refused(f"privateKey {path} {reason}", privateKey=path)

    def test_not_installed(self) -> None:
        """Without the libraries, the error says what to install."""
        port = {"port": self.endpoint()}
        with patch.dict(sys.modules, {"cryptography": None}):
            error = self.assertRaises(SettingError, resolve, port, {})
        self.assertIn("TLS not available: ", str(error))

    def test_other_parameters(self) -> None:
        """Other errors of the TLS library are one line."""
        error = self.assertRaises(
            SettingError, resolve, {"port": f"{self.endpoint()}:sslmethod=NONE"}, {}
        )
        self.assertIn("cannot load the TLS files: ", str(error))

    def test_dh_parameters(self) -> None:
        """So are those of a file that it reads itself."""
        nowhere = quoteStringArgument(str(self.directory / "nowhere"))
        port = f"{self.endpoint()}:dhParameters={nowhere}"
        error = self.assertRaises(SettingError, resolve, {"port": port}, {})
        self.assertIn("cannot load the TLS files: ", str(error))

    @given(st.text(min_size=1).filter(lambda text: "\0" not in text))
    def test_any_name(self, name: str) -> None:
        """A file may have any name, and can be replaced."""
        description = (
            f"ssl:443:key.pem:interface=\\:\\:1:certKey={quoteStringArgument(name)}"
        )
        files = {"privateKey": Path("key.pem"), "certKey": Path(name)}
        self.assertEqual(tls_files(description), files)
        others = {"privateKey": Path("/a:b"), "certKey": Path("c\\d")}
        changed = with_files(description, others)
        self.assertEqual(tls_files(changed), others)
        self.assertIn(":interface=\\:\\:1", changed)


class CertificateTests(TLSTestCase):
    """The certificate of one process, while it runs."""

    def setUp(self) -> None:
        """Have a reactor, too."""
        super().setUp()
        self.reactor = PooledReactor()
        self.used = Certificate(self.endpoint())

    def reload(self) -> bool:
        """Have it read again."""
        return run(self.used.reload(self.reactor), self.reactor, self.reactor.pool)

    def test_renewed(self) -> None:
        """The context is a new one once the new files were read, in a thread."""
        before = self.used.getContext()
        write_certificate(self.directory, hours=9)
        reloading: Deferred[bool] = self.used.reload(self.reactor)
        self.assertIs(self.used.getContext(), before)
        self.assertTrue(run(reloading, self.reactor, self.reactor.pool))
        self.assertIsNot(self.used.getContext(), before)
        lasts = self.used.expires - datetime.now(UTC).timestamp()
        self.assertGreater(lasts, 8 * 3600)

    def test_bad(self) -> None:
        """Unusable files change nothing, and the reason is logged."""
        before, expires = self.used.getContext(), self.used.expires
        self.key.unlink()
        with capturedLogs() as events:
            self.assertFalse(self.reload())
        self.assertIs(self.used.getContext(), before)
        self.assertEqual(self.used.expires, expires)
        self.assertEqual(
            formatEvent(events[0]),
            f"keeping the previous certificate: cannot read privateKey {self.key}: "
            "No such file or directory",
        )

    def test_gone(self) -> None:
        """Files deleted since the settings were parsed make the start fail."""
        settings = resolve({"port": self.endpoint(), "metrics-port": "none"}, {})
        self.assertEqual(set(certificates_of(settings)), {"port"})
        self.key.unlink()
        error = self.assertRaises(StartError, certificates_of, settings)
        self.assertIn(f"cannot read privateKey {self.key}", str(error))


class CopiesTests(TLSTestCase):
    """Certificates that processes inherit."""

    def setUp(self) -> None:
        """Copy the files of two endpoints."""
        super().setUp()
        self.reactor = PooledReactor()
        settings = Settings(
            self.endpoint(extraCertChain=self.certificate),
            Path("/images"),
            1,
            1,
            sync=True,
            metrics_port=self.endpoint(),
        )
        self.copies = CertificateCopies(settings, 7)
        self.copies.load()
        self.addCleanup(self.copies.close)

    def reload(self) -> None:
        """Have the files copied again."""
        run(
            Deferred.fromCoroutine(self.copies.reload(self.reactor)),
            self.reactor,
            self.reactor.pool,
        )

    def content(self) -> list[bytes]:
        """Return the inherited descriptors."""
        return [
            Path(f"/proc/self/fd/{descriptor}").read_bytes()
            for descriptor in self.copies.descriptors
        ]

    def test_inherited(self) -> None:
        """The variables name the descriptors, and these have the files."""
        paths = [f"/proc/self/fd/{number}" for number in range(7, 12)]
        self.assertEqual(
            self.copies.environment,
            {
                "ASCIID_PORT": f"ssl:port=0:privateKey={paths[0]}:certKey={paths[1]}:"
                f"extraCertChain={paths[2]}",
                "ASCIID_METRICS_PORT": f"ssl:port=0:privateKey={paths[3]}:"
                f"certKey={paths[4]}",
            },
        )
        key, certificate = self.key.read_bytes(), self.certificate.read_bytes()
        self.assertEqual(
            self.content(), [key, certificate, certificate, key, certificate]
        )

    def test_renewed(self) -> None:
        """New files replace the old ones, whose descriptors are closed."""
        old, open_before = self.content(), open_descriptors()
        write_certificate(self.directory)
        self.assertEqual(self.content(), old)
        self.reload()
        self.assertEqual(self.content()[0], self.key.read_bytes())
        self.assertEqual(open_descriptors(), open_before)

    def test_bad(self) -> None:
        """Files of which one is bad leave all copies as they were."""
        old, open_before = self.content(), open_descriptors()
        self.certificate.write_text("none")
        with capturedLogs() as events:
            self.reload()
        self.assertEqual(self.content(), old)
        self.assertEqual(open_descriptors(), open_before)
        self.assertEqual(
            formatEvent(events[0]),
            "keeping the previous certificate: no PEM certificate in certKey "
            f"{self.certificate}",
        )
        self.assertRaises(TLSFileError, self.copies.load)

    def test_none(self) -> None:
        """Without TLS there is nothing to copy, and nothing is logged."""
        copies = CertificateCopies(Settings("tcp:0", None, 1, 1, sync=True), 4)
        copies.load()
        with capturedLogs() as events:
            self.successResultOf(Deferred.fromCoroutine(copies.reload(self.reactor)))
        self.assertEqual((copies.environment, list(copies.descriptors)), ({}, []))
        self.assertEqual(events, [])
