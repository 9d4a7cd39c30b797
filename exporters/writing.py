"""Rows straight to day-partitioned Parquet, for what is brought in from files: nothing of it is lost if it fails."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from .batches import rows_table
from .rolling import write_table
from .snapshot import name_of
from .spool import new_stem
from .store import UNKNOWN_DATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .rows import Row
    from .store import Store

ROWS_PER_FILE: Final = 50_000


class SpanWriter:
    """Collects rows and writes them as Parquet files of a store. Safe to use from many threads.

    Args:
        store: where to write.
        rows_per_file: a day's rows are written when they are this many, the rest on ``close``.
    """

    def __init__(self, store: Store, rows_per_file: int = ROWS_PER_FILE) -> None:
        self._store, self._rows_per_file = store, rows_per_file
        self._days: defaultdict[str, list[Row]] = defaultdict(list)
        self._lock = threading.Lock()

    def add(self, row: Row) -> None:
        """Take one row, with the columns of the schema.

        Raises:
            OSError: if its day's file was due and cannot be written; the rows are kept for the next try.
        """
        day = f"{row['started_at']:%Y-%m-%d}" if row["started_at"] else UNKNOWN_DATE
        with self._lock:
            rows = self._days[day]
            rows.append(row)
            if len(rows) >= self._rows_per_file:
                self._write(day)

    def close(self) -> None:
        """Write every row taken so far.

        Raises:
            OSError: if a file cannot be written; its rows are kept for the next try.
        """
        with self._lock:
            for day in list(self._days):
                self._write(day)

    def _write(self, day: str) -> None:
        write_rows(self._store, day, self._days[day])
        del self._days[day]


def write_rows(store: Store, day: str, rows: Sequence[Row]) -> str:
    """Write rows of a day as one Parquet file, visible under its name only when it is complete and on disk.

    Returns:
        The file's name; names sort by the time of writing.

    Raises:
        OSError: if it cannot be written; nothing is left behind then.
    """
    table = rows_table(rows)
    name = name_of(day, new_stem())
    store.storage.publish(name, lambda file: write_table(table, file))
    return name
