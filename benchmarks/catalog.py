"""The servers to measure: their names and how they start."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import peers

if TYPE_CHECKING:
    from collections.abc import Callable

SERVERS_DIR = Path(__file__).parent / "servers"
BIN = Path(sys.executable).parent

Command = list[str | Path]


class Server(NamedTuple):
    """A server and the command that serves on a port of 127.0.0.1."""

    key: str
    title: str
    command: Callable[[int, Path], Command]
    missing: Callable[[], str | None] = lambda: None
    """Returns the package that has to be installed first, or None."""
    large: bool = False
    """Whether downloads of a large image are measured, too."""


def _script(name: str) -> Callable[[int, Path], Command]:
    return lambda port, storage: [
        sys.executable,
        SERVERS_DIR / name,
        str(port),
        storage,
    ]


def _uvicorn(app: str) -> Callable[[int, Path], Command]:
    options = ["--host", "127.0.0.1", "--no-access-log", "--log-level", "warning"]
    return lambda port, _: [
        BIN / "uvicorn",
        *options,
        *("--app-dir", SERVERS_DIR, "--port", str(port)),
        app,
    ]


def twistd(port: int, storage: Path) -> Command:
    """Return the command of the daemon on a port of 127.0.0.1."""
    endpoint = f"tcp:{port}:interface=127.0.0.1"
    return [
        *(BIN / "twistd", "--nodaemon", "--pidfile="),
        *("asciid", "--port", endpoint, "--storage", storage),
    ]


def unbounded(port: int, storage: Path) -> Command:
    """Return the command of a daemon in which one client may have all uploads."""
    # Registrations alone leave more pending than one client is meant to.
    return [*twistd(port, storage), "--max-client-uploads=0"]


def _workers(port: int, storage: Path) -> Command:
    return [*unbounded(port, storage), "--workers=4"]


OURS = "ours"
OURS_WORKERS = "ours-workers"
OURS_APART = "ours-apart"
OURS_STOCK = "ours-stock-site"
NAIVE = "naive"
GO_DURABLE = "go-durable"
GO_MEMORY = "go-memory"
NGINX = "nginx"
EMPTY_OURS = "empty-ours"
EMPTY_KLEIN = "empty-klein"
EMPTY_AIOHTTP = "empty-aiohttp"
EMPTY_STARLETTE = "empty-starlette"
EMPTY_FASTAPI = "empty-fastapi"

FILES = Server(NGINX, "nginx, one worker", peers.nginx, peers.missing_for_nginx)
"""A server of files, which has one image of each size from its start."""

SERVICES = [
    Server(OURS, "asciid", unbounded, large=True),
    Server(
        GO_DURABLE,
        "Go: net/http, bbolt",
        peers.go_durable,
        peers.missing_for_go,
    ),
    Server(GO_MEMORY, "Go: net/http, in memory", peers.go_memory, peers.missing_for_go),
    Server(OURS_WORKERS, "asciid with 4 workers", _workers),
    Server(OURS_STOCK, "asciid under stock twisted.web", _script("stock_site.py")),
    Server(NAIVE, "naive: stock Klein, a file per image", _script("naive.py")),
]
"""Servers that store images, each in a directory that is empty at first."""

APART = Server(OURS_APART, "4 daemons apart, on the same core", unbounded)
"""Of this one several run side by side."""

EMPTY = [
    Server(EMPTY_OURS, "Klein under asciid.http", _script("empty_ours.py")),
    Server(EMPTY_KLEIN, "stock Klein", _script("empty_klein.py")),
    Server(EMPTY_AIOHTTP, "aiohttp", _script("empty_aiohttp.py")),
    Server(
        EMPTY_STARLETTE,
        "Starlette, uvicorn[standard]",
        _uvicorn("empty_starlette:app"),
    ),
    Server(EMPTY_FASTAPI, "FastAPI, uvicorn[standard]", _uvicorn("empty_fastapi:app")),
]
"""Those whose one handler reads a small JSON body and answers 201, empty."""

SERVERS = [FILES, *SERVICES, APART, *EMPTY]
TITLES = {server.key: server.title for server in SERVERS}
