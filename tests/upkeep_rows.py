"""Stores for tests of upkeep: spans known by their ids, in files and spools, and what a reader of them counts."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pyarrow.parquet as pq
from store_rows import call_row
from turnledger.exporters.batches import rows_table
from turnledger.exporters.snapshot import snapshot
from turnledger.exporters.spool import SpoolFile, batch_record
from turnledger.exporters.writing import write_rows

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from turnledger.exporters.snapshot import Snapshot
    from turnledger.exporters.storage import Storage
    from turnledger.exporters.store import Store

DAYS: Final = ("2026-11-01", "2026-11-02")
_numbers = itertools.count(1)


def made_rows(count: int, day: str = DAYS[0]) -> list[dict[str, Any]]:
    """Return rows of a day, with ids nobody else has."""
    noon = datetime.fromisoformat(day).replace(hour=12, tzinfo=UTC)
    return [
        call_row(span_id=f"{number:016x}", started_at=noon + timedelta(microseconds=number))
        for number in itertools.islice(_numbers, count)
    ]


def add_file(store: Store, count: int = 3, day: str = DAYS[0]) -> set[str]:
    """Write a file of spans; returns their ids."""
    rows = made_rows(count, day)
    write_rows(store, day, rows)
    return ids_of(rows)


def add_spool(store: Store, count: int = 3, days: Iterable[str] = DAYS[:1]) -> tuple[Path, set[str]]:
    """Leave a spool of spans as a process that has died; returns it and their ids."""
    rows = [row for day in days for row in made_rows(count, day)]
    spool = SpoolFile(store.spool, below=store.spool.parent)
    for batch in rows_table(rows).to_batches(max_chunksize=2):
        spool.append(batch_record(batch), batch.num_rows)
    spool.close()
    return spool.path, ids_of(rows)


def ids_of(rows: Iterable[dict[str, Any]]) -> set[str]:
    """Return the ids of rows."""
    return {row["span_id"] for row in rows}


def ids_in(storage: Storage, name: str) -> list[str]:
    """Return the ids of the spans in a file."""
    with storage.open(name) as file:
        found: list[str] = pq.ParquetFile(file).read(columns=["span_id"])["span_id"].to_pylist()
        return found


def counted(store: Store, found: Snapshot | None = None) -> list[str]:
    """Return the ids that a reader counts, in order, each as often as it does."""
    seen = snapshot(store) if found is None else found
    spooled = [str(one) for batch in seen.spooled for one in batch.column("span_id").to_pylist()]
    return sorted([*spooled, *(one for file in seen.listing.files for one in ids_in(store.storage, file.name))])
