"""
Measures the gallery of many images, and other clients while images are rendered.

README.md, beside this file, defines every figure; `benchmarks/pages` starts it.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import procfs
from catalog import Server, twistd
from process import BenchmarkError, Running, choose_cores, started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from process import Cores

IMAGES = 100_000
COLOURED = 2_000
"""Of the images, the newest: each a screen of 80 x 25 cells with colours."""
WARM_PAGES, COLD_PAGES = 200, 20
RENDERING_CLIENTS = 16
PIPELINED = 64
"""Uploads that are sent before the first is answered."""

MAX_HTML = 400_000
MAX_WARM, MAX_COLD = 0.010, 0.040
"""Seconds of CPU time of a page from the cache, and of one that is not there."""
MAX_RATIO = 5.0
"""How many times longer the 99th percentile of /livez may take."""
MAX_GROWTH = 0.10
"""Share of the memory after half of the pages by which it may grow."""


class Page(NamedTuple):
    """A gallery page that was received."""

    size: int
    """Bytes of HTML, not compressed."""
    older: str
    """The path of the page that follows; empty on the last one."""


class Cost(NamedTuple):
    """CPU time of a page, in seconds."""

    served: float
    """Of the processes that serve, the reactor's among others."""
    total: float
    """With that of renderers."""


def coloured(number: int) -> bytes:
    """Return a screen of art: runs of colour, blocks and text, all different."""
    rng = random.Random(number)
    rows = []
    for _ in range(25):
        row, column = [], 0
        while column < 80:
            width = min(rng.randint(1, 12), 80 - column)
            column += width
            ink, ground = rng.randint(30, 37), rng.randint(40, 47)
            char = rng.choice("█▓▒░▀▄ .:'/\\")
            row.append(f"\x1b[{rng.randint(0, 1)};{ink};{ground}m{char * width}")
        rows.append("".join(row))
    return ("\r\n".join(rows) + f"\x1b[0m {number}").encode()


def plain(number: int) -> bytes:
    """Return a small image."""
    return f" /\\_/\\\n( o.o )\n > ^ <  {number}\n".encode()


def fill(port: int, count: int) -> list[str]:
    """
    Upload images, the coloured ones last; return the hashes of these.

    Errors: `BenchmarkError`.
    """
    names = []
    many = min(COLOURED, count // 2)
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        answers = connection.makefile("rb")
        for start in range(0, count, PIPELINED):
            batch = range(start, min(start + PIPELINED, count))
            requests = []
            for number in batch:
                data = plain(number) if number < count - many else coloured(number)
                name = sha256(data).hexdigest()
                if number >= count - many:
                    names.append(name)
                head = f"PUT /image/{name} HTTP/1.1\r\nHost: b\r\n"
                length = f"Content-Length: {len(data)}\r\n\r\n"
                requests.append(f"{head}{length}".encode() + data)
            connection.sendall(b"".join(requests))
            for _ in batch:
                status = answers.readline().split()[1]
                while answers.readline().strip():
                    pass
                if status != b"201":
                    message = f"an upload was answered {status.decode()}"
                    raise BenchmarkError(message)
    return names


class Client:
    """A browser without a cache, on one connection."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)

    def get(self, path: str, accept: str = "text/html") -> bytes:
        """
        Return the body of a response.

        Errors: `BenchmarkError`.
        """
        self._connection.request("GET", path, headers={"Accept": accept})
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            message = f"{path} was answered {response.status}: {body[:200]!r}"
            raise BenchmarkError(message)
        return body

    def page(self, path: str) -> Page:
        """Return a gallery page; errors: those of `get`."""
        html = self.get(path)
        _, _, link = html.partition(b'rel="next"')
        older = link.partition(b'href="')[2].partition(b'"')[0].decode()
        if b'class="art' not in html:
            message = f"{path} shows no art"
            raise BenchmarkError(message)
        return Page(len(html), older.replace("&amp;", "&"))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def cost_of(pid: int) -> Cost:
    """Return the CPU time that a daemon has taken so far."""
    times = procfs.cpu_seconds(pid)
    renderers = {
        member
        for member in times
        if "asciid.web._renderer_process" in procfs.command(member)
    }
    total = sum(times.values())
    return Cost(total - sum(times[each] for each in renderers), total)


def measure_warm(daemon: Running, count: int) -> tuple[Cost, list[int]]:
    """Request the first page again and again; return its cost, and sizes."""
    client = Client(daemon.port)
    # Each worker has a cache of its own.
    for _ in range(20):
        client.page("/")
    before = cost_of(daemon.pid)
    sizes = [client.page("/").size for _ in range(count)]
    after = cost_of(daemon.pid)
    client.close()
    return mean(before, after, count), sizes


def measure_cold(daemon: Running, count: int) -> tuple[Cost, list[int], list[int]]:
    """Request page after page; return their cost, sizes, and memory after each."""
    client = Client(daemon.port)
    path = client.page("/").older
    sizes, memory = [], []
    before = cost_of(daemon.pid)
    for _ in range(count):
        if not path:
            message = "there are too few images"
            raise BenchmarkError(message)
        page = client.page(path)
        sizes.append(page.size)
        memory.append(procfs.anonymous(daemon.pid))
        path = page.older
    after = cost_of(daemon.pid)
    client.close()
    return mean(before, after, count), sizes, memory


def mean(before: Cost, after: Cost, count: int) -> Cost:
    """Return the cost of one of `count` pages."""
    return Cost(
        (after.served - before.served) / count, (after.total - before.total) / count
    )


def probe(port: int, seconds: float) -> list[float]:
    """Request /livez with a pause between; return how long each response took."""
    client = Client(port)
    end = time.monotonic() + seconds
    taken = []
    while time.monotonic() < end:
        began = time.monotonic()
        client.get("/livez", "*/*")
        taken.append(time.monotonic() - began)
        time.sleep(0.002)
    client.close()
    return taken


def percentile(values: list[float], share: float) -> float:
    """Return the value below which that share of `values` is."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def rendering(port: int, names: list[str]) -> Iterator[list[int]]:
    """Have clients ask for pictures that nobody asked for before; yield a count."""
    stop = threading.Event()
    waiting = iter(names)
    lock = threading.Lock()
    done = [0]

    def ask() -> None:
        client = Client(port)
        while not stop.is_set():
            with lock:
                name = next(waiting, None)
            if name is None:
                return
            for kind in ("", ".svg"):
                client.get(f"/i/{name}{kind}")
                with lock:
                    done[0] += 1
        client.close()

    threads = [threading.Thread(target=ask) for _ in range(RENDERING_CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield done
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def server_of(workers: int) -> Server:
    """Return a daemon with so many workers."""

    def command(port: int, storage: Path) -> list[str | Path]:
        options = ["--no-sync", "--public-url=https://art.example"]
        if workers > 1:
            options.append(f"--workers={workers}")
        return [*twistd(port, storage), *options]

    return Server(f"workers-{workers}", f"{workers} workers", command)


def measure(
    options: argparse.Namespace, workers: int, directory: Path, cores: Cores
) -> dict[str, float]:
    """Measure a daemon; return its figures."""
    storage = directory / f"storage-{workers}"
    storage.mkdir()
    with started(server_of(workers), storage, cores) as daemon:
        names = fill(daemon.port, options.images)
        warm, sizes = measure_warm(daemon, options.warm)
        cold, more, memory = measure_cold(daemon, options.cold)
        sizes += more
        alone = probe(daemon.port, options.seconds)
        with rendering(daemon.port, names) as done:
            beside = probe(daemon.port, options.seconds)
    half = memory[len(memory) // 2]
    return {
        "warm_ms": 1e3 * warm.total,
        "cold_ms": 1e3 * cold.total,
        "cold_served_ms": 1e3 * cold.served,
        "largest_page_bytes": max(sizes),
        "memory_mib": memory[-1] / 2**20,
        "memory_growth": memory[-1] / half - 1,
        "livez_p99_alone_ms": 1e3 * percentile(alone, 0.99),
        "livez_p99_beside_ms": 1e3 * percentile(beside, 0.99),
        "livez_ratio": percentile(beside, 0.99) / percentile(alone, 0.99),
        "renderings_per_second": done[0] / options.seconds,
    }


def verdicts(figures: dict[str, float]) -> Iterator[tuple[str, bool]]:
    """Yield each bound, and whether it is kept."""
    yield "a page from the cache < 10 ms CPU", figures["warm_ms"] < 1e3 * MAX_WARM
    yield "a cold page < 40 ms CPU", figures["cold_ms"] < 1e3 * MAX_COLD
    yield "a page <= 400 kB", figures["largest_page_bytes"] <= MAX_HTML
    yield "memory is flat", figures["memory_growth"] < MAX_GROWTH
    yield "/livez p99 < 5 times alone", figures["livez_ratio"] < MAX_RATIO


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, prog="benchmarks/pages")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--warm", type=int, default=WARM_PAGES, help="pages")
    parser.add_argument("--cold", type=int, default=COLD_PAGES, help="pages")
    parser.add_argument("--seconds", type=float, default=10, help="of probes")
    parser.add_argument("--workers", default="1,4", help="numbers of workers")
    parser.add_argument(
        "--storage", type=Path, help="directory to work in; the system's for such"
    )
    parser.add_argument("--output", type=Path, help="file for the figures, as JSON")
    options = parser.parse_args()
    cores = choose_cores()
    result = {}
    with tempfile.TemporaryDirectory(prefix="asciid-pages-", dir=options.storage) as at:
        for workers in map(int, options.workers.split(",")):
            figures = measure(options, workers, Path(at), cores)
            result[workers] = figures
            print(f"{workers} worker{'s' if workers > 1 else ''}")
            for name, value in figures.items():
                print(f"  {name:<24}{value:>12,.2f}")
            for bound, kept in verdicts(figures):
                print(f"  {bound}: {'' if kept else 'not '}met")
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except BenchmarkError as error:
        sys.exit(f"benchmarks/pages: {error}")
