"""A store of made calls, as large as asked for, written as Parquet: what the speed of the analysis is measured on.

``python made_store.py FOLDER CALLS``. ``made_store.sql`` says what the calls are like; they are the same every time.
"""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Final

import duckdb
from turnledger.exporters.rolling import write_table
from turnledger.exporters.schema import SPAN_SCHEMA
from turnledger.exporters.store import Store, day_folder

DAY_CALLS: Final = 50_000
_FIRST_DAY: Final = dt.date(2026, 9, 1)
_SQL: Final = Path(__file__).with_suffix(".sql")


def make_store(folder: Path, calls: int) -> Store:
    """Write a store of about so many calls (by at most the last conversation of each day more), a file a day.

    Returns:
        The store; its days hold 50 000 calls each, so that each file is as large as compaction leaves them.
    """
    store = Store.at(folder)
    query = _SQL.read_text()
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        for number, done in enumerate(range(0, calls, DAY_CALLS)):
            day = _FIRST_DAY + dt.timedelta(days=number)
            asked = {"day": day, "calls": min(DAY_CALLS, calls - done)}
            table = connection.sql(query, params=asked).to_arrow_table()
            path = f"{day_folder(day.isoformat())}/{number:019}-made.parquet"
            store.storage.publish(path, lambda file, table=table: write_table(table.cast(SPAN_SCHEMA), file))
    return store


if __name__ == "__main__":
    make_store(Path(sys.argv[1]), int(sys.argv[2]))
