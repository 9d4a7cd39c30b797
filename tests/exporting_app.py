"""A process that exports spans as fast as it can, each with a response id of its own.

Run as a script: ``exporting_app.py STORE NAME COUNT [WRITES_PER_S]``; with the last, its disk is that slow. It prints
the growth of its memory in MiB, what it spilled and what it lost.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from made_spans import NOON_NS, RESOURCE
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind
from turnledger.exporters import spool
from turnledger.exporters.parquet import ParquetSpanExporter
from turnledger.instrument import attributes as keys
from turnledger.instrument import health

BATCH = 512
HELD_BYTES = 16 << 20
WARM_UP = 4


def span(name: str, number: int) -> ReadableSpan:
    """Return a span like no other."""
    start = NOON_NS + number * 1000
    identity = int.from_bytes(os.urandom(8), "big") | 1
    return ReadableSpan(
        name="chat m",
        context=SpanContext(identity, identity, is_remote=False),
        attributes={keys.RESPONSE_ID: f"{name}-{number}", keys.RAW_METADATA: f'{{"pad":"{"x" * 300}"}}'},
        resource=RESOURCE,
        kind=SpanKind.CLIENT,
        start_time=start,
        end_time=start + 10**6,
    )


def slow_down(below: Path, bytes_per_s: float) -> None:
    """Make writes below a folder as slow as a bad disk's."""
    write = os.write

    def slowly(descriptor: int, data: bytes) -> int:
        written = write(descriptor, data)
        if Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(below):
            time.sleep(written / bytes_per_s)
        return written

    spool.os.write = slowly  # pyright: ignore[reportPrivateImportUsage]


def memory_mib() -> float:
    """Return the most memory this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(store: str, name: str, count: int, bytes_per_s: float = 0) -> None:
    """Export, end, and say how it went."""
    if bytes_per_s:
        slow_down(Path(store) / "spool", bytes_per_s)
    exporter = ParquetSpanExporter(store, held_bytes=HELD_BYTES)
    before = 0.0
    for start in range(0, count, BATCH):
        exporter.export([span(name, number) for number in range(start, min(start + BATCH, count))])
        if start == WARM_UP * BATCH:
            before = memory_mib()
    exporter.shutdown()
    counts = health.snapshot()
    spilled, lost = counts.get("store.spilled_spans", 0), counts.get("store.lost_spans", 0)
    sys.stdout.write(f"{memory_mib() - before:.0f} {spilled} {lost}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *map(float, sys.argv[4:]))
