"""The servers that are not Python: what they need, and how they start."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from process import BenchmarkError

import script

SOURCES = Path(__file__).parent / "servers" / "go_images"
GO_PATH = Path("/usr/share/gocode")
"""Where Debian installs Go packages."""
BBOLT = "go.etcd.io/bbolt"
GO_PROGRAM = Path(sys.prefix) / "go_images"

_NGINX = """\
daemon off;
{user}
pid {directory}/nginx.pid;
error_log stderr;
worker_processes 1;
events {{
    worker_connections 1024;
}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    types {{ }}
    default_type "text/plain; charset=utf-8";
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{port};
        root {directory}/files;
    }}
}}
"""


def nginx(port: int, storage: Path) -> list[str | Path]:
    """Write a configuration and the files to serve, and return the command."""
    images = storage / "files" / "image"
    images.mkdir(parents=True)
    for image in (script.small_image(), script.large_image()):
        (images / script.digest_of(image)).write_bytes(image)
    configuration = storage / "nginx.conf"
    # Otherwise root's workers cannot read a directory that is root's alone.
    user = "" if os.geteuid() else "user root;"
    configuration.write_text(_NGINX.format(directory=storage, port=port, user=user))
    return [_find("nginx") or "nginx", "-p", storage, "-c", configuration]


def go_durable(port: int, storage: Path) -> list[str | Path]:
    """Return the command of the server in Go that syncs every write."""
    return [GO_PROGRAM, "durable", str(port), storage]


def go_memory(port: int, storage: Path) -> list[str | Path]:
    """Return the command of the server in Go that forgets everything at its end."""
    return [GO_PROGRAM, "memory", str(port), storage]


def missing_for_nginx() -> str | None:
    """Return what has to be installed first, or None."""
    return None if _find("nginx") else "nginx"


def missing_for_go() -> str | None:
    """Return what has to be installed first, or None."""
    if _find("go") is None:
        return "golang-go"
    if not (GO_PATH / "src" / BBOLT).is_dir():
        return "golang-github-coreos-bbolt-dev"
    return None


@cache
def build_go(program: Path = GO_PROGRAM) -> Path:
    """
    Compile the server in Go, without the network, and return its path.

    Errors: `BenchmarkError`.
    """
    variables = {"GO111MODULE": "off", "GOPATH": str(GO_PATH), "GOFLAGS": ""}
    done = subprocess.run(
        ["go", "build", "-o", program.resolve(), "."],
        cwd=SOURCES,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        message = f"go build: {done.stderr}"
        raise BenchmarkError(message)
    return program


def describe_peers() -> dict[str, str]:
    """Return the versions of Go, bbolt and nginx."""
    found = {
        "go": _printed("go", "version"),
        "bbolt": _printed(
            "dpkg-query", "-W", "-f", "${Version}", "golang-github-coreos-bbolt-dev"
        ),
        "nginx": _printed("nginx", "-v"),
    }
    for name, pattern in (("go", r"go(\d\S*)"), ("nginx", r"nginx/(\S+)")):
        match = re.search(pattern, found[name])
        found[name] = match[1] if match else found[name]
    return found


def _find(name: str) -> str | None:
    # Debian's nginx is in a directory that only root's PATH has.
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _printed(name: str, *arguments: str) -> str:
    program = _find(name)
    if program is None:
        return "missing"
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False
    )
    return (done.stdout + done.stderr).strip() if done.returncode == 0 else "missing"
