"""The front behind TLS, with a handshake in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from klein import Klein
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions, KeyPair, PrivateCertificate
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.test.iosim import connect, FakeTransport
from twisted.trial.unittest import SynchronousTestCase

from asciid.http import KleinFactory, body_of
from asciid.http._output import QueuedOutput
from tests.http._support import get, parse_answers, post

if TYPE_CHECKING:
    from twisted.web.iweb import IRequest
