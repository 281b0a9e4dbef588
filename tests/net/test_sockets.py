"""Tests of asciid.net.sockets."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from asciid.net.description import Description
from asciid.net.sockets import BACKLOG, ListeningSockets, open_sockets
from tests.integration._certificate import write_certificate
from tests.integration._daemon import environment

COUNT = 3
LOOPBACK = "tcp:0:interface=127.0.0.1"


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


class SocketsTestCase(SynchronousTestCase):
    """Opens sockets, and closes them."""

    def open(self, description: str, count: int = 1) -> ListeningSockets:
        """Open the sockets of an endpoint."""
        opened = open_sockets(Description.parse(description), count)
        self.addCleanup(opened.close)
        return opened


class BacklogTests(SocketsTestCase):
    """How many connections may wait to be accepted."""

    def backlog(self, description: str) -> int:
        """Return the backlog of the socket of an endpoint."""
        given: list[int] = []

        class Socket(socket.socket):
            def listen(self, backlog: int = 0, /) -> None:
                given.append(backlog)

        self.patch(socket, "socket", Socket)
        self.open(description)
        (backlog,) = given
        return backlog

    def test_default(self) -> None:
        """The default is that of asciid."""
        name = Path(self.mktemp()).name
        for description in (
            "0",
            "tcp:0",
            LOOPBACK,
            r"tcp6:0:interface=\:\:1",
            f"unix:{name}:mode=600",
        ):
            self.assertEqual(self.backlog(description), BACKLOG, description)

    def test_given(self) -> None:
        """A backlog in the description is used, by name or by position."""
        for description in (
            "tcp:0:backlog=7",
            "tcp:0:backlog=7:interface=127.0.0.1",
            "tcp:0:interface=127.0.0.1:backlog=7",
            "tcp:0:127.0.0.1:7",
            r"tcp6:0:7:\:\:1",
        ):
            self.assertEqual(self.backlog(description), 7, description)


class DualStackTests(SocketsTestCase):
    """A port number alone is all addresses of both families."""

    def test_both(self) -> None:
        """Clients of both families reach one port, whatever the kernel's default is."""
        for count in (1, COUNT):
            opened = self.open("0", count)
            for each in opened.sockets:
                self.assertEqual(each.family, socket.AF_INET6)
                only = each.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
                self.assertEqual(only, 0)
            (number,) = {each.getsockname()[1] for each in opened.sockets}
            self.assertEqual(opened.address, f"[::]:{number}")
            for host in ("127.0.0.1", "::1"):
                socket.create_connection((host, number), timeout=5).close()

    def test_bindv6only(self) -> None:
        """The kernel may make a socket of IPv6 one that has no IPv4."""

        class Socket(socket.socket):
            def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - the original's
                super().__init__(*arguments)
                if self.family is socket.AF_INET6:
                    self.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)

        self.patch(socket, "socket", Socket)
        number = self.open("0").sockets[0].getsockname()[1]
        socket.create_connection(("127.0.0.1", number), timeout=5).close()

    def test_no_ipv6(self) -> None:
        """Without IPv6 it listens on IPv4."""

        class Socket(socket.socket):
            def __init__(self, family: int, *arguments: Any) -> None:  # noqa: ANN401 - the original's
                if family == socket.AF_INET6:
                    raise OSError(errno.EAFNOSUPPORT, "not supported")
                super().__init__(family, *arguments)

        self.patch(socket, "socket", Socket)
        for count in (1, COUNT):
            opened = self.open("0", count)
            self.assertEqual(opened.sockets[0].family, socket.AF_INET)
            self.assertTrue(opened.address.startswith("0.0.0.0:"))

    def test_taken(self) -> None:
        """A port in use is no lack of IPv6, whichever family has it."""
        for family, host in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):
            with socket.create_server((host, 0), family=family) as taken:
                number = taken.getsockname()[1]
                for count in (1, COUNT):
                    self.assertRaises(CannotListenError, self.open, str(number), count)

    def test_one_family(self) -> None:
        """Longer descriptions have Twisted's meaning: tcp is IPv4, tcp6 is IPv6."""
        (tcp,) = self.open("tcp:0").sockets
        (tcp6,) = self.open("tcp6:0").sockets
        self.assertEqual(tcp.family, socket.AF_INET)
        self.assertEqual(tcp6.family, socket.AF_INET6)
        (local,) = self.open(r"tcp:0:interface=\:\:1").sockets
        self.assertEqual(local.getsockname()[0], "::1")


class SpreadTests(SocketsTestCase):
    """Several sockets on one address."""

    def test_one_for_each(self) -> None:
        """Each is a socket of its own, all on one port."""
        opened = self.open(LOOPBACK, COUNT)
        self.assertEqual(len({each.fileno() for each in opened.sockets}), COUNT)
        ((host, port),) = {each.getsockname() for each in opened.sockets}
        self.assertEqual(opened.address, f"{host}:{port}")

    def test_outlives(self) -> None:
        """A process that has inherited a socket accepts after it was closed here."""
        opened = self.open(LOOPBACK)
        inherited = socket.socket(fileno=os.dup(opened.sockets[0].fileno()))
        self.addCleanup(inherited.close)
        opened.close()
        inherited.settimeout(5)
        with socket.create_connection(inherited.getsockname(), timeout=5):
            accepted, _ = inherited.accept()
            accepted.close()

    def test_tls(self) -> None:
        """With TLS it is the same: the handshake is for the process that accepts."""
        directory = Path(self.mktemp())
        directory.mkdir()
        write_certificate(directory)
        files = f"privateKey={directory}/key.pem:certKey={directory}/cert.pem"
        opened = self.open(f"ssl:0:interface=127.0.0.1:{files}", COUNT)
        self.assertEqual(len(opened.sockets), COUNT)

    def test_taken_without_sharing(self) -> None:
        """A program that shares its port by accident is no reason to join it."""
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(("127.0.0.1", 0))
            other.listen()
            taken = f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"
            error = self.assertRaises(CannotListenError, self.open, taken, COUNT)
        self.assertIn("Address already in use", str(error))

    def test_nothing_is_left_open(self) -> None:
        """If one socket cannot be opened, none stays open."""
        before = open_descriptors()
        self.assertRaises(
            CannotListenError, self.open, "tcp:0:interface=192.0.2.1", COUNT
        )
        self.assertEqual(open_descriptors(), before)


class OneSocketTests(SocketsTestCase):
    """Endpoints that are one socket, however many processes there are."""

    def test_unix(self) -> None:
        """A Unix socket is one, with its mode, and removed with the socket."""
        name = Path(self.mktemp()).name
        opened = self.open(f"unix:{name}:mode=600", COUNT)
        self.assertEqual(len(opened.sockets), 1)
        self.assertEqual(opened.address, f"unix:{name}")
        self.assertEqual(Path(name).stat().st_mode & 0o777, 0o600)
        opened.close()
        self.assertFalse(Path(name).exists())

    def test_systemd(self) -> None:
        """A socket of the service manager is found by its number or by its name."""
        program = (
            "import os, sys\n"
            "os.environ['LISTEN_PID'] = str(os.getpid())\n"
            "os.dup2(int(sys.argv[2]), 3)\n"
            "import asciid.net.endpoints\n"
            "from asciid.net.description import Description\n"
            "from asciid.net.sockets import open_sockets\n"
            "opened = open_sockets(Description.parse(sys.argv[1]), 3)\n"
            "(one,) = opened.sockets\n"
            "print(opened.address, one.getblocking())\n"
        )
        with socket.create_server(("127.0.0.1", 0)) as passed:
            address = f"127.0.0.1:{passed.getsockname()[1]}"
            for description in (
                "systemd:domain=INET:index=0",
                "haproxy:systemd:domain=INET:name=art",
            ):
                done = subprocess.run(
                    [
                        *(sys.executable, "-c", program),
                        *(description, str(passed.fileno())),
                    ],
                    env=environment(LISTEN_FDS="1", LISTEN_FDNAMES="art"),
                    pass_fds=[passed.fileno()],
                    capture_output=True,
                    text=True,
                    timeout=30,
                    check=False,
                )
                self.assertEqual(done.stdout, f"{address} False\n", done.stderr)

    def test_plugin(self) -> None:
        """Those of a plugin cannot be opened here."""
        error = self.assertRaises(ValueError, self.open, "tls:certificates:tcp:0")
        self.assertIn("tcp, tcp6, ssl, unix or systemd", str(error))
