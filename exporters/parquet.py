"""Rows to day-partitioned Parquet: one batch in, one file a day out, each complete before it has its name.

``ParquetSpanExporter`` is a standard OpenTelemetry exporter: it works in any pipeline, behind any batch processor.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

import pyarrow as pa
import pyarrow.parquet as pq
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from .keys import digest_key
from .rows import Row, span_row
from .schema import SPAN_SCHEMA
from .store import UNKNOWN_DATE, Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from ..instrument.digests import DigestKey

_log = logging.getLogger("turnledger")
_alive: WeakSet[SpanWriter] = WeakSet()
ROWS_PER_FILE: Final = 50_000
_MISFITS: Final[tuple[type[Exception], ...]] = (pa.ArrowException, TypeError, ValueError, OverflowError)
"""What Arrow raises for a value that is not of its column's type."""


class SpanWriter:
    """Collects rows and writes them as Parquet files of a store. Safe to use from many threads.

    Args:
        store: where to write.
        rows_per_file: a day's rows are written when they are this many, the rest on ``flush`` or ``close``.
    """

    def __init__(self, store: Store, rows_per_file: int = ROWS_PER_FILE) -> None:
        self._store, self._rows_per_file = store, rows_per_file
        self._days: defaultdict[str, list[Row]] = defaultdict(list)
        self._lock = threading.Lock()
        _alive.add(self)

    def after_fork(self) -> None:
        """Start anew in a forked child: the rows not yet written are the parent's, which still has them."""
        self._days.clear()
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
            # Not at every row beyond: while the store cannot be written, each try would cost as much as the last.
            if len(rows) % self._rows_per_file == 0:
                self._write(day)

    def flush(self) -> None:
        """Write every row taken so far.

        Raises:
            OSError: if a file cannot be written; its rows are kept for the next try.
        """
        with self._lock:
            for day in list(self._days):
                self._write(day)

    close = flush

    def _write(self, day: str) -> None:
        write_rows(self._store.day(day), self._days[day])
        del self._days[day]


def write_rows(folder: Path, rows: Iterable[Row]) -> Path:
    """Write rows as one Parquet file, visible under its name only when it is complete and on disk.

    Returns:
        The file's path; names sort by the time of writing.

    Raises:
        OSError: if it cannot be written; nothing is left behind then.
    """
    table = _table(list(rows))
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}.parquet"
    temporary = folder / f".{name}.tmp"
    try:
        with temporary.open("wb") as file:
            pq.write_table(table, file, compression="zstd", use_dictionary=True)
            file.flush()
            os.fsync(file.fileno())
        return temporary.rename(folder / name)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _table(rows: list[Row]) -> pa.Table:
    try:
        return pa.Table.from_pylist(rows, schema=SPAN_SCHEMA)
    except _MISFITS:
        # One row that does not fit must not take the others with it: find it, keep its frame, say so.
        return pa.Table.from_pylist([_fitting(row) for row in rows], schema=SPAN_SCHEMA)


def _fitting(row: Row) -> Row:
    kept: Row = {}
    for name, kind in zip(SPAN_SCHEMA.names, SPAN_SCHEMA.types, strict=True):
        value = row.get(name)
        try:
            pa.array([value], type=kind)
            kept[name] = value
        except _MISFITS as error:
            _log.warning("turnledger: column %s of span %s dropped: %s", name, row.get("span_id"), error)
            kept[name] = None
    return kept


class ParquetSpanExporter(SpanExporter):
    """Writes every batch of spans into a store, one file a day and batch.

    Args:
        store: folder of the ledger; default ``TURNLEDGER_STORE``, else ``./turnledger-data``.
    """

    def __init__(self, store: str | os.PathLike[str] | None = None) -> None:
        self.store = Store.at(store)
        self._writer = SpanWriter(self.store)

    def digest_key(self) -> DigestKey:
        """Return the key of the store's message digests, made on first use.

        Raises:
            KeyFileError: if the key file holds something else.
            OSError: if it can neither be read nor made.
        """
        return digest_key(self.store)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write a batch; rows that could not be written are kept and tried again with the next batch."""
        for span in spans:
            with contextlib.suppress(OSError):  # the row is kept, and the flush below says the same
                self._writer.add(span_row(span))
        try:
            self._writer.flush()
        except OSError as error:
            _log.error("turnledger: cannot write to the store at %s: %s", self.store.root, error)
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002  the base class has it
        """Write what an earlier failure left; returns whether nothing is left."""
        return self.export(()) is SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Write what is left."""
        self.force_flush()


def _after_fork() -> None:
    for writer in list(_alive):
        writer.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
