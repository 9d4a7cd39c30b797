"""A process that writes spans into a store, by files and by spools that become files; prints how many they were.

Run as a script: ``writing_spans.py STORE FIRST COUNT``.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

from store_rows import call_row
from turnledger.exporters.batches import rows_table
from turnledger.exporters.rolling import recover
from turnledger.exporters.spool import SpoolFile, batch_record
from turnledger.exporters.store import Store
from turnledger.exporters.writing import write_rows

ROWS = 20


def _main(location: str, first: int, count: int) -> None:
    store = Store.at(location)
    noon = datetime(2026, 11, 1, 12, tzinfo=UTC)
    for number in range(first, first + count * ROWS, ROWS):
        rows = [
            call_row(span_id=f"{one:016x}", started_at=noon + timedelta(milliseconds=one))
            for one in range(number, number + ROWS)
        ]
        if number % (2 * ROWS):
            write_rows(store, "2026-11-01", rows)
        else:
            spool = _spool(store)
            for batch in rows_table(rows).to_batches(max_chunksize=7):
                spool.append(batch_record(batch), batch.num_rows)
            spool.close()
            recover(store)
    print(count * ROWS)  # noqa: T201


def _spool(store: Store) -> SpoolFile:
    while True:
        try:
            return SpoolFile(store.spool, below=store.spool.parent)
        except BlockingIOError:  # whoever looks for spools of the dead was faster; the exporter tries again too
            continue


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
