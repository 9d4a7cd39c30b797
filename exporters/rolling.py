"""From spools to Parquet: one file for each day in it, and then the spool is gone.

A death in between harms nothing: the file has the spool's stem, so that what is there already is not written again,
and not read twice meanwhile (see ``snapshot``).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import defaultdict
from typing import IO, TYPE_CHECKING, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ..instrument import health
from .locks import released_in_children, try_lock
from .schema import UNLIKE
from .snapshot import by_day, list_files, name_of
from .spool import ASKED, read_spool, spool_files
from .store import day_folder

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from .store import Store

COMPRESSION: Final = "zstd"
ROW_GROUP: Final = 1 << 17
"""Spans in one piece of a file: a reader of some minutes of a day skips the others."""
_ABANDONED_S: Final = 3600.0
"""Where the file system has no locks, a spool that nobody has written to for this long has no owner any more."""


class Rolled(NamedTuple):
    """What became of a spool: spans written, bytes of a torn last record, bytes that were damaged before it."""

    rows: int = 0
    torn: int = 0
    damaged: int = 0


def write_table(table: pa.Table, file: IO[bytes]) -> None:
    """Write a table as Parquet the way every file of a store is."""
    names = [name for name in table.column_names if name not in UNLIKE]
    pq.write_table(table, file, ROW_GROUP, compression=COMPRESSION, use_dictionary=names)  # pyright: ignore[reportArgumentType]


def roll(store: Store, path: Path) -> Rolled:
    """Make Parquet of a spool that nobody writes to any more, and remove it.

    The caller holds its lock, or is the one who has written it.

    Raises:
        OSError: if the store cannot be written; the spool stays as it is then.
    """
    reading = read_spool(path.read_bytes())
    days: defaultdict[str, list[pa.RecordBatch]] = defaultdict(list)
    for day, part in by_day(reading.batches):
        days[day].append(part)
    for day, parts in days.items():
        if not list_files(store.storage, day_folder(day)).certain().has(day, path.stem):
            table = pa.Table.from_batches(parts)
            store.storage.publish(name_of(day, path.stem), lambda file, table=table: write_table(table, file))
    path.unlink(missing_ok=True)
    path.with_suffix(ASKED).unlink(missing_ok=True)
    if reading.damaged:
        health.count("spool.damaged_bytes", reading.damaged)
    if reading.torn:
        health.count("spool.torn_records")
    return Rolled(reading.rows, reading.torn, reading.damaged)


def recover(store: Store) -> Rolled:
    """Make Parquet of every spool that no living process has open: those of the dead, and those put aside when full.

    Raises:
        OSError: if the store cannot be written; what is left stays as it is.
    """
    total = Rolled()
    failure: OSError | None = None
    for path in (path for folder in store.spools for path in spool_files(folder)):
        with _owned(path) as is_ours:
            if is_ours:
                try:
                    total = Rolled(*map(sum, zip(total, roll(store, path), strict=True)))
                except OSError as error:  # of one day, perhaps: the others go on
                    failure = failure or error
    health.count("spool.rolled_spans", total.rows)
    if failure is not None:
        raise failure
    return total


def is_left(path: Path) -> bool:
    """Tell whether no living process has a spool open."""
    with _owned(path) as is_ours:
        return is_ours


@contextlib.contextmanager
def _owned(path: Path) -> Generator[bool]:
    """Take a spool over, if its process is gone; say whether it was."""
    try:
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:  # another was first
        yield False
        return
    with released_in_children(descriptor):
        yield _take(descriptor)


def _take(descriptor: int) -> bool:
    status = os.fstat(descriptor)
    try:
        # Whoever had the lock before may have removed the file.
        return try_lock(descriptor) and os.fstat(descriptor).st_nlink > 0
    except OSError:
        return time.time() - status.st_mtime > _ABANDONED_S
