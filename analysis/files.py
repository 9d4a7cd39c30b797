"""Which files of a store can be read: one that cannot is named and left out, and never takes the others with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..exporters.store import Store


def span_files(store: Store) -> list[str]:
    """Return the paths of the store's span files in order of time; unfinished ones have another ending."""
    return [str(path) for path in sorted(store.spans.glob("date=*/*.parquet"))]


def parquet_list(files: Sequence[str]) -> str:
    """Return the SQL that reads the files as one relation, columns matched by name."""
    quoted = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
    return f"read_parquet([{quoted}], union_by_name = true, hive_partitioning = false)"


def readable(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the files that can be read, and a line for each that cannot.

    Files are looked at one by one only when all together fail: a store is read far more often than it is damaged.
    """
    if not files:
        return [], []
    try:
        connection.sql(f"select * from {parquet_list(files)} limit 0")
    except duckdb.Error:
        problems = {file: problem for file in files if (problem := _problem(file))}
        return [file for file in files if file not in problems], list(problems.values())
    return list(files), []


def _problem(file: str) -> str | None:
    try:
        pq.read_metadata(file)
    except (OSError, ValueError) as error:
        return f"{file}: left out, it is not readable Parquet ({' '.join(str(error).split())[:120]})"
    return None
