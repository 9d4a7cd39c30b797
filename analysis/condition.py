"""In what condition a store is: its files and versions, what waits in spools, what processes said they lost."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ..exporters.reporting import ORDINARY, REPORT
from ..exporters.rolling import is_left
from ..exporters.schema import SCHEMA_VERSION
from ..exporters.snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..exporters.snapshot import Snapshot
    from ..exporters.storage import Storage
    from .ledger import Ledger

_WAITING_S: Final = 600.0
"""A spool that nobody takes over for this long is worth a line; a living process takes them over every five minutes."""

_ADVICE: Final[Mapping[str, str]] = {
    "store.lost_spans": "neither the store nor the temporary folder could be written: make room, raise held_bytes",
    "worker.lost_spans": "the exporter did not take them: see the log line of worker.export, or the exporter's own",
    "worker.bodies_left_out": "bodies came faster than they could be read: usage and ids of these calls are missing",
    "store.spilled_spans": "the store was slow or could not be written; nothing is lost",
    "store.removed": "the store was removed while it was written to; calls from then on are in the new one",
    "store.sync": "the disk did not confirm a write: after a loss of power these spans may be missing",
    "store.dropped_values": "values of another kind than their column were left out",
    "spool.torn_records": "their process died while it wrote: at most the last 200 ms of it are missing",
    "spool.damaged_bytes": "the disk has changed what was written: see its health",
    "capture.body_cut": "only the first 64 MiB of these bodies were read",
    "extract.metadata_left_out": "raw metadata over 2 MiB was left out; ids and usage were read",
}
_OURS: Final = (
    "a failure of ours; the application was not affected: please report it, with the log line of the first one"
)


def condition(ledger: Ledger) -> pl.DataFrame:
    """Return the figures of a store: ``figure`` and ``value``, a row each."""
    found = snapshot(ledger.store)
    counts, highs = _reported(ledger)
    lost = counts["store.lost_spans"] + counts["worker.lost_spans"]
    rows: list[tuple[str, Any]] = [
        ("files", len(found.listing.files)),
        ("bytes", sum(file.size for file in found.listing.files)),
        ("files replaced, not yet removed", len(found.listing.replaced)),
        *(
            (f"files of schema version {name}", count)
            for name, count in sorted(_versions(ledger.store.storage, found).items())
        ),
        *_spools(found),
        ("spans lost", lost),
        ("spans spilled", counts["store.spilled_spans"]),
        *((f"highest {name}", int(value)) for name, value in sorted(highs.items())),
    ]
    return pl.DataFrame([(name, str(value)) for name, value in rows], schema=["figure", "value"], orient="row")


def store_findings(ledger: Ledger) -> list[dict[str, Any]]:
    """Return what of the store itself is to be looked at, as rows of the doctor."""
    found = snapshot(ledger.store)
    left = [path for path in found.spools if _age_s(path) > _WAITING_S and is_left(path)]
    rows: list[dict[str, Any]] = []
    if left:
        rows.append(_row("spools whose process is gone", len(left), str(left[0]), "turnledger compact takes them over"))
    versions = _versions(ledger.store.storage, found)
    old = sum(count for version, count in versions.items() if version.isdigit() and int(version) < SCHEMA_VERSION)
    if old:
        rows.append(_row("files of older schema versions", old, None, "turnledger migrate rewrites them"))
    counts, _ = _reported(ledger)
    for kind, count in sorted(counts.items()):
        if kind not in ORDINARY:
            rows.append(_row(f"counted by processes: {kind}", count, None, _ADVICE.get(kind, _OURS)))
    return rows


def _row(finding: str, count: int, example: str | None, advice: str) -> dict[str, Any]:
    return {"finding": finding, "count": count, "example": example, "advice": advice}


def _spools(found: Snapshot) -> list[tuple[str, Any]]:
    ages = [_age_s(path) for path in found.spools]
    return [
        ("spools", len(found.spools)),
        ("spools whose process is gone", sum(map(is_left, found.spools))),
        ("spans in spools", sum(batch.num_rows for batch in found.spooled)),
        ("bytes of records cut off", sum(reading.torn for reading in found.spools.values())),
        *([("age of the oldest spool, s", round(max(ages)))] if ages else []),
    ]


def _age_s(path: Path) -> float:
    """Return how long ago a spool was begun; its name says when. A clock that went back makes none younger than 0."""
    begun = path.name.partition("-")[0]
    return max(0.0, time.time() - int(begun) / 1e9) if begun.isdigit() else 0.0


def _versions(storage: Storage, found: Snapshot) -> Counter[str]:
    versions: Counter[str] = Counter()
    for file in found.listing.files:
        try:
            with storage.open(file.name) as opened:
                metadata = pq.read_metadata(opened).metadata or {}
        except (OSError, pa.ArrowException):
            versions["unknown: not readable"] += 1
        else:
            versions[metadata.get(b"turnledger.schema_version", b"unknown").decode("utf-8", "replace")] += 1
    return versions


def _reported(ledger: Ledger) -> tuple[Counter[str], dict[str, float]]:
    """Return what processes have counted, and the highest figures they have seen."""
    counts: Counter[str] = Counter()
    highs: dict[str, float] = {}
    for (text,) in ledger.sql("select attributes from spans where name = ? and scope = 'turnledger'", [REPORT]).rows():
        try:
            said = orjson.loads(text)
            counts.update({str(kind): int(count) for kind, count in said["counts"].items()})
            highs.update({kind: max(float(value), highs.get(kind, 0.0)) for kind, value in said["highs"].items()})
        except (ValueError, TypeError, KeyError, AttributeError):  # not of ours, or damaged
            counts["reports that could not be read"] += 1
    return counts, highs
