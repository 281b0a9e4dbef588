"""The configurations of a cluster: programs accept them, and they agree."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import yaml

from asciid.config.settings import SETTINGS, DatabaseURL, resolve
from tests._commands import CommandTestCase
from tests._programs import program
from tests.contrib._proxy import Proxy, haproxy_cluster
from tests.integration._daemon import ROOT, Daemon

CONTRIB = ROOT / "contrib"
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
PASSWORDS = (CONTRIB / "cluster.env.example").read_text(encoding="utf-8")


class PatroniTests(CommandTestCase):
    """`contrib/patroni.yml`."""

    def setUp(self) -> None:
        """Load it."""
        text = (CONTRIB / "patroni.yml").read_text(encoding="utf-8")
        self.document: dict[str, Any] = yaml.safe_load(text)
        self.cluster = self.document["bootstrap"]["dcs"]

    def test_accepted(self) -> None:
        """With the variables of each machine, Patroni lacks nothing that it needs."""
        variables = {
            "PATRONI_NAME": "db1",
            "PATRONI_RESTAPI_CONNECT_ADDRESS": "192.0.2.1:8008",
            "PATRONI_POSTGRESQL_CONNECT_ADDRESS": "192.0.2.1:5432",
            "PATRONI_ETCD_HOSTS": "127.0.0.1:2379",
        }
        for name in variables:
            self.assertIn(name, PAGE)
        # It also checks what only a machine of the cluster has, hence no exit code.
        done = subprocess.run(
            [
                program("patroni"),
                "--validate-config",
                str(CONTRIB / "patroni.yml"),
            ],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        output = done.stdout + done.stderr
        others = ("consul", "etcd3", "exhibitor", "kubernetes", "raft", "zookeeper")
        expected = {
            *(f"{name}  is not defined." for name in others),
            # The one of `postgresql` is used.
            "bootstrap.pg_hba  is not defined.",
        }
        elsewhere = re.compile("is not reachable|directory|executable|not installed")
        lines = {line for line in output.splitlines() if not elsewhere.search(line)}
        self.assertEqual(lines - expected, set())

    def test_no_acknowledged_write_is_lost(self) -> None:
        """Commits wait for a standby, and a primary does without one at no time."""
        self.assertTrue(self.cluster["synchronous_mode"])
        self.assertTrue(self.cluster["synchronous_mode_strict"])
        parameters = self.cluster["postgresql"]["parameters"]
        self.assertEqual(parameters["synchronous_commit"], "on")
        cancelling = re.compile("(statement|transaction|idle_.*)_timeout").fullmatch
        self.assertEqual([name for name in parameters if cancelling(name)], [])

    def test_lease(self) -> None:
        """The lease of the primary outlasts two failed attempts to renew it."""
        lasts = self.cluster["loop_wait"] + 2 * self.cluster["retry_timeout"]
        self.assertGreaterEqual(self.cluster["ttl"], lasts)

    def test_standbys_reconnect_soon(self) -> None:
        """A standby, whose retries delay a promotion, too, retries within a second."""
        parameters = self.cluster["postgresql"]["parameters"]
        interval = parameters["wal_retrieve_retry_interval"]
        self.assertRegex(interval, r"^([1-9]\d{0,2}ms|1s)$")

    def test_authentication(self) -> None:
        """From other machines only TLS and a password are accepted."""
        for line in self.document["postgresql"]["pg_hba"]:
            kind, *_, method = line.split()
            if kind == "local":
                self.assertEqual(method, "peer")
            else:
                self.assertEqual(method, "scram-sha-256")
                self.assertTrue(kind == "hostssl" or "127.0.0.1/32" in line, line)


class ComposeTests(CommandTestCase):
    """`contrib/docker-compose-cluster.yml`."""

    def setUp(self) -> None:
        """Load it."""
        path = CONTRIB / "docker-compose-cluster.yml"
        self.document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        self.services = self.document["services"]

    def test_read(self) -> None:
        """Compose accepts it, with the variables of the example."""
        directory = Path(self.mktemp()).resolve()
        directory.mkdir()
        (directory / ".env").write_text(PASSWORDS)
        self.run_command(
            *(program("docker-compose"), "--env-file", str(directory / ".env")),
            *("-f", str(CONTRIB / "docker-compose-cluster.yml"), "config", "--quiet"),
        )

    def test_settings(self) -> None:
        """The nodes have valid settings, and a database of all three servers."""
        for name in ("app1", "app2"):
            environment = dict(self.services[name]["environment"])
            self.assertIn("ASCIID_PASSWORD", environment.pop("PGPASSWORD"))
            known = {setting.variable for setting in SETTINGS}
            self.assertLessEqual(set(environment), known)
            settings = resolve({}, environment)
            self.assertIsInstance(settings.storage, DatabaseURL)
            self.assertIn("@db1,db2,db3/", str(settings.storage))
            grace = int(self.services[name]["stop_grace_period"].removesuffix("s"))
            self.assertGreater(grace, settings.drain_timeout)

    def test_addresses(self) -> None:
        """HAProxy's configuration and the nodes' trust have these addresses."""
        addresses = {
            name: self.services[name]["networks"]["cluster"]["ipv4_address"]
            for name in ("app1", "app2", "haproxy")
        }
        proxy = (CONTRIB / "haproxy-cluster.cfg").read_text(encoding="utf-8")
        for name in ("app1", "app2"):
            self.assertIn(f"server {name} {addresses[name]}:4444\n", proxy)
            trusted = self.services[name]["environment"]["ASCIID_TRUSTED_PROXIES"]
            self.assertEqual(trusted, addresses["haproxy"])

    def test_images(self) -> None:
        """Each image is built here, but HAProxy's own."""
        built = {
            service["image"] for service in self.services.values() if "build" in service
        }
        used = {service["image"] for service in self.services.values()}
        self.assertEqual(used - built, {"haproxy:2.6"})
        self.assertTrue((CONTRIB / "cluster.Dockerfile").is_file())


class PgbouncerTests(CommandTestCase):
    """`contrib/pgbouncer.ini`."""

    def test_settings(self) -> None:
        """Transactions share connections, which lead to the primary over TLS."""
        parser = ConfigParser(comment_prefixes=(";",), interpolation=None)
        parser.read_string((CONTRIB / "pgbouncer.ini").read_text(encoding="utf-8"))
        settings = parser["pgbouncer"]
        self.assertEqual(settings["pool_mode"], "transaction")
        self.assertEqual(settings["listen_addr"], "127.0.0.1")
        self.assertEqual(settings["server_tls_sslmode"], "verify-ca")
        self.assertEqual(settings["auth_type"], "scram-sha-256")
        # HAProxy's, which leads to the primary.
        proxy = CONTRIB / "haproxy-primary.cfg"
        (address,) = re.findall(r"bind (\S+)\n", proxy.read_text(encoding="utf-8"))
        host, port = address.split(":")
        server = parser["databases"]["asciid"]
        self.assertIn(f"host={host} port={port} ", server)
        self.run_command(program("haproxy"), "-c", "-f", str(proxy))
        # Neither longer than a client waits for its response.
        self.assertLess(int(settings["query_wait_timeout"]), 10)
        self.assertLess(int(settings["server_login_retry"]), 5)


class HAProxyTests(CommandTestCase):
    """`contrib/haproxy-cluster.cfg`, in front of two daemons."""

    def setUp(self) -> None:
        """Require the program."""
        program("haproxy")

    def daemon(self, *options: str) -> Daemon:
        """Start a daemon that trusts the proxy."""
        return self.start_daemon("--trusted-proxies=127.0.0.1", *options)

    def put_before(self, *daemons: Daemon) -> Proxy:
        """Start the proxy in front of two daemons."""
        first, second = (daemon.port for daemon in daemons)
        proxy = haproxy_cluster(Path(self.mktemp()).resolve(), first, second)
        self.addCleanup(proxy.stop)
        return proxy.start()

    def wait_for_down(self, proxy: Proxy, count: int) -> None:
        """Wait until the proxy has found that `count` daemons are not ready."""
        deadline = time.monotonic() + 60
        while proxy.log.count(" is DOWN") < count:
            self.assertLess(time.monotonic(), deadline, proxy.log)
            time.sleep(0.05)

    def curl(self, proxy: Proxy, path: str, *options: str) -> tuple[int, str]:
        """Send a request; return status and body."""
        output = self.run_command(
            *(program("curl"), "-sS", "-w", "\n%{http_code}", *options),
            proxy.url + path,
        )
        body, _, status = output.rpartition("\n")
        return int(status), body

    def test_one_of_them_is_not_ready(self) -> None:
        """All requests reach the one that is ready."""
        full = self.daemon("--reserve=1048576G")
        proxy = self.put_before(full, self.daemon())
        self.wait_for_down(proxy, 1)
        for number in range(4):
            status, body = self.curl(proxy, "/", "-d", f"<{number}><", "-X", "PUT")
            self.assertEqual(status, 201, body)

    def test_none_is_ready(self) -> None:
        """A request still reaches one, whose response has the reason."""
        proxy = self.put_before(*(self.daemon("--reserve=1048576G") for _ in range(2)))
        self.wait_for_down(proxy, 2)
        status, body = self.curl(proxy, "/", "-d", "<><", "-X", "PUT")
        self.assertEqual(
            (status, json.loads(body)["type"]), (507, "/problems/storage-full")
        )
        self.assertEqual(self.curl(proxy, "/livez")[0], 200)

    def test_none_runs(self) -> None:
        """The metrics stay inside; a proxy without daemons sends a problem document."""
        daemons = [self.daemon() for _ in range(2)]
        proxy = self.put_before(*daemons)
        for path in ("/metrics", "/%6detrics", "/x/../metrics", "//metrics"):
            self.assertEqual(self.curl(proxy, path, "--path-as-is")[0], 404, path)
        for daemon in daemons:
            daemon.stop()
        status, body = self.curl(proxy, "/livez")
        self.assertEqual((status, json.loads(body)["status"]), (503, 503))
