"""
nginx, HAProxy, Varnish and Squid as processes in front of a daemon.

The first two have the configuration of contrib/.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from typing import TYPE_CHECKING

from attrs import define, field

from tests._programs import program
from tests.integration._daemon import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "Proxy",
    "cluster_configuration",
    "haproxy",
    "haproxy_cluster",
    "nginx",
    "nginx_cache",
    "squid",
    "varnish",
]

_PATIENCE = 90
"""Seconds until a proxy that does not listen fails the test."""

_NGINX = """\
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
worker_processes 1;
events {{
    worker_connections 512;
}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/asciid.conf;
}}
"""
"""The context of a file in conf.d, as in Debian's nginx.conf."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _configuration(name: str, changes: Mapping[str, str]) -> str:
    """Return a file of contrib/ with the test's addresses and paths."""
    text = (ROOT / "contrib" / name).read_text(encoding="utf-8")
    for old, new in changes.items():
        if text.count(old) != 1:
            message = f"{name} does not have one {old!r}"
            raise AssertionError(message)
        text = text.replace(old, new)
    return text


@define
class Proxy:
    """A proxy process in front of port `upstream`."""

    command: list[str]
    port: int
    directory: Path
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    @property
    def url(self) -> str:
        """The address of the proxy."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id; it must have been started."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """Its log."""
        return (self.directory / "proxy.log").read_text(errors="replace")

    def start(self) -> Proxy:
        """Start it and wait until it listens."""
        with (self.directory / "proxy.log").open("wb") as log:
            self._process = subprocess.Popen(
                self.command, cwd=self.directory, stdout=log, stderr=log
            )
        deadline = time.monotonic() + _PATIENCE
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                message = f"the proxy does not listen:\n{self.log}"
                raise RuntimeError(message)
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        """Stop it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_PATIENCE)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def nginx(directory: Path, upstream: int) -> Proxy:
    """Return nginx in front of port `upstream`; it is not started yet."""
    found, port = program("nginx"), _free_port()
    directory.mkdir(parents=True)
    site = {
        "    listen 80;": f"    listen 127.0.0.1:{port};",
        "server 127.0.0.1:4444;": f"server 127.0.0.1:{upstream};",
    }
    (directory / "asciid.conf").write_text(_configuration("nginx.conf", site))
    main = directory / "main.conf"
    main.write_text(_NGINX.format(directory=directory))
    return Proxy([found, "-p", str(directory), "-c", str(main)], port, directory)


def haproxy(directory: Path, upstream: int) -> Proxy:
    """Return HAProxy in front of port `upstream`; it is not started yet."""
    service = {
        "server asciid 127.0.0.1:4444\n": f"server asciid 127.0.0.1:{upstream}\n"
    }
    return _haproxy(directory, _configuration("haproxy.cfg", service))


def haproxy_cluster(directory: Path, *upstream: int) -> Proxy:
    """Return HAProxy in front of two ports; it is not started yet."""
    return _haproxy(directory, cluster_configuration(*upstream))


def cluster_configuration(*upstream: int) -> str:
    """Return the configuration of HAProxy for two ports, listening on port 80."""
    stats = {"    bind 127.0.0.1:8404\n": f"    bind 127.0.0.1:{_free_port()}\n"}
    text = _configuration("haproxy-cluster.cfg", stats)
    for address, port in zip(("10.0.0.21", "10.0.0.22"), upstream, strict=True):
        if text.count(f" {address}:4444\n") != 2:
            message = f"haproxy-cluster.cfg does not have {address} in two backends"
            raise AssertionError(message)
        text = text.replace(f" {address}:4444\n", f" 127.0.0.1:{port}\n")
    return text


def _haproxy(directory: Path, text: str) -> Proxy:
    """Return HAProxy with a configuration of contrib/, listening on a free port."""
    found, port = program("haproxy"), _free_port()
    directory.mkdir(parents=True)
    lines = {"    bind :80\n": f"    bind 127.0.0.1:{port}\n"}
    if os.geteuid():
        # Only root can become another user.
        own = ("user haproxy", "group haproxy", "chroot /var/lib/haproxy")
        lines.update({f"    {line}\n": "" for line in own})
    for line, replacement in lines.items():
        text = text.replace(line, replacement)
    file = directory / "haproxy.cfg"
    file.write_text(text)
    return Proxy([found, "-db", "-f", str(file)], port, directory)


def varnish(directory: Path, upstream: int) -> Proxy:
    """Return Varnish in front of port `upstream`; it is not started yet."""
    found, port = program("varnishd"), _free_port()
    directory.mkdir(parents=True)
    file = directory / "asciid.vcl"
    file.write_text(
        f'vcl 4.1;\nbackend asciid {{ .host = "127.0.0.1"; .port = "{upstream}"; }}\n'
    )
    command = [
        *(found, "-F", "-n", str(directory / "work"), "-f", str(file)),
        *("-a", f"127.0.0.1:{port}", "-s", "malloc,32m", "-j", "none"),
        *("-p", "thread_pools=1", "-p", "thread_pool_min=5"),
    ]
    return Proxy(command, port, directory)


def nginx_cache(directory: Path, upstream: int) -> Proxy:
    """Return nginx as a cache before port `upstream`; it is not started yet."""
    found, port = program("nginx"), _free_port()
    directory.mkdir(parents=True)
    (directory / "asciid.conf").write_text(
        f"""\
proxy_cache_path {directory}/cache keys_zone=art:1m;
server {{
    listen 127.0.0.1:{port};
    client_max_body_size 0;
    location / {{
        proxy_pass http://127.0.0.1:{upstream};
        proxy_http_version 1.1;
        proxy_cache art;
        proxy_cache_revalidate on;
    }}
}}
"""
    )
    main = directory / "main.conf"
    # Without root it cannot write below a directory of root.
    main.write_text("user root;\n" + _NGINX.format(directory=directory))
    return Proxy([found, "-p", str(directory), "-c", str(main)], port, directory)


def squid(directory: Path, upstream: int) -> Proxy:
    """Return Squid as a cache before port `upstream`; it is not started yet."""
    found, port = program("squid"), _free_port()
    directory.mkdir(parents=True)
    file = directory / "squid.conf"
    # Without root it has no writable directory.
    file.write_text(
        f"""\
http_port 127.0.0.1:{port} accel defaultsite=127.0.0.1:{port} no-vhost
cache_peer 127.0.0.1 parent {upstream} 0 no-query no-digest originserver login=PASSTHRU
http_access allow all
cache_mem 16 MB
maximum_object_size_in_memory 1 MB
memory_cache_shared off
shutdown_lifetime 0 seconds
pinger_enable off
access_log none
cache_log /dev/null
pid_filename none
visible_hostname localhost
coredump_dir /
"""
    )
    return Proxy([found, "-N", "-d", "1", "-f", str(file)], port, directory)
