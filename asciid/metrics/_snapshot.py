"""
Encodes the metrics of one process, and merges those of several.

Counters and histograms of several processes are summed, and so are gauges, except those
that are the same in each process and those of which the worst value counts.  File
descriptors are those of the process that is nearest to its limit: a sum would hide one
that has none left.

The multiprocess mode of prometheus_client is not used: its values are files that grow
in number with each process that exits, and it has no collectors, while most of the
metrics here are computed when they are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from prometheus_client.core import Metric

from asciid.runtime.offload import run_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping

__all__ = [
    "LASTING_KINDS",
    "SHARED",
    "WORST",
    "lasting",
    "merge",
    "merge_in_steps",
    "snapshot",
    "snapshot_in_steps",
]

SHARED = frozenset(
    {
        "asciid_build",
        "asciid_client_uploads_limit",
        "asciid_hashes_blocked",
        "asciid_images",
        "asciid_images_listed",
        "asciid_images_quarantined",
        "asciid_storage_file_bytes",
        "asciid_storage_free_bytes",
        "asciid_storage_readable",
        "asciid_storage_reserve_bytes",
        "asciid_uploads_pending",
        "asciid_uploads_pending_limit",
        "process_start_time_seconds",
        "python_info",
        # There is one queue, in the writer; those of workers would count twice.
        "asciid_queue_bytes",
        "asciid_queue_limit_bytes",
        "asciid_queue_operations",
        "asciid_queue_operations_limit",
    }
)
"""Metrics of shared resources: the storage, the release."""

WORST: Mapping[str, Callable[[float, float], float]] = {
    "asciid_bound_used_ratio": max,
    "asciid_certificate_expiry_timestamp_seconds": min,
    "asciid_ready": min,
}
"""Metrics of which the worst value counts."""

_OPEN, _MAX = "process_open_fds", "process_max_fds"

LASTING_KINDS = frozenset({"counter", "histogram"})
"""The types of metrics that never decrease."""

_RESOLUTION = 2**26
"""
Counters are rounded to a multiple of 1 / this, 15 ns for seconds.

Sums of such multiples are exact up to 2**27, in any order.  Sums of other numbers
differ in the last bit with the order of processes, and Prometheus takes a decrease for
a counter reset.
"""

_Labels = tuple[tuple[str, str], ...]


class _Family(msgspec.Struct, array_like=True, frozen=True):
    """A metric family: name, labels and value of each sample."""

    name: str
    kind: str
    text: str
    samples: list[tuple[str, _Labels, float]]


_decoder = msgspec.msgpack.Decoder(list[_Family])


def snapshot(families: Iterable[Metric]) -> bytes:
    """Return `families` as bytes for `merge`, also in another process."""
    return run_steps(snapshot_in_steps(families))


def snapshot_in_steps(families: Iterable[Metric]) -> Generator[None, None, bytes]:
    """Like `snapshot`, in steps for `asciid.runtime.offload`."""
    encoded = []
    for family in families:
        exact = family.type in LASTING_KINDS
        samples = [
            (
                sample.name,
                tuple(sample.labels.items()),
                _summable(sample.value) if exact else float(sample.value),
            )
            for sample in family.samples
        ]
        encoded.append(_Family(family.name, family.type, family.documentation, samples))
        yield
    return msgspec.msgpack.encode(encoded)


def merge(snapshots: Iterable[bytes]) -> list[Metric]:
    """
    Return the merged metrics of several processes.

    Shared metrics are those of the first process that has them.

    Errors: `msgspec.DecodeError` if one is not a snapshot of this release.
    """
    return run_steps(merge_in_steps(snapshots))


def merge_in_steps(snapshots: Iterable[bytes]) -> Generator[None, None, list[Metric]]:
    """Like `merge`, in steps for `asciid.runtime.offload`."""
    metrics: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, _Labels], float]] = {}
    nearest = (0.0, 0.0)
    for data in snapshots:
        families = _decoder.decode(data)
        nearest = max(nearest, _descriptors(families), key=_ratio)
        yield
        for family in families:
            name = family.name
            metrics.setdefault(name, Metric(name, family.text, family.kind))
            known = values.setdefault(name, {})
            for sample, labels, value in family.samples:
                key = sample, labels
                known[key] = _merged(name, known[key], value) if key in known else value
            yield
    if all(nearest):
        for name, value in zip((_OPEN, _MAX), nearest, strict=True):
            values[name] = {(name, ()): value}
    for name, metric in metrics.items():
        for (sample, labels), value in values[name].items():
            metric.add_sample(sample, dict(labels), value)
        yield
    return list(metrics.values())


def lasting(snapshots: Iterable[bytes]) -> bytes:
    """
    Return the cumulative metrics of a snapshot, which outlive its process.

    Errors: those of `merge`.
    """
    return snapshot(
        metric for metric in merge(snapshots) if metric.type in LASTING_KINDS
    )


def _summable(value: float) -> float:
    return round(value * _RESOLUTION) / _RESOLUTION


def _merged(name: str, known: float, value: float) -> float:
    """Return the merged samples of the metric `name` of two processes."""
    if name in WORST:
        return WORST[name](known, value)
    return known if name in SHARED else known + value


def _descriptors(families: Iterable[_Family]) -> tuple[float, float]:
    """Return the open descriptors of a process, and their limit."""
    values = {
        sample: value
        for family in families
        if family.name in (_OPEN, _MAX)
        for sample, _, value in family.samples
    }
    return values.get(_OPEN, 0.0), values.get(_MAX, 0.0)


def _ratio(descriptors: tuple[float, float]) -> float:
    taken, most = descriptors
    return taken / most if most else 0.0
