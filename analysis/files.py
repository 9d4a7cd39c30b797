"""What of a store can be read: a file that cannot is named and left out, and never takes the others with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ..exporters.bucket import BucketStorage
from ..exporters.footers import footer_of, not_ours
from ..exporters.schema import SPAN_SCHEMA
from ..exporters.snapshot import snapshot, unreadable
from ..exporters.storage import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..exporters.storage import Found, Storage
    from ..exporters.store import Store


class Stored(NamedTuple):
    """The spans of a store at one moment: files of Parquet, what is in none of them yet, and what cannot be read."""

    files: list[str]
    spooled: pa.Table
    problems: list[str]


def stored_spans(store: Store, connection: duckdb.DuckDBPyConnection) -> Stored:
    """Return what a store holds now, each span once.

    Raises:
        OSError: if the store cannot be listed.
    """
    found = snapshot(store)
    if isinstance(store.storage, BucketStorage):
        _read_remotely(connection, store.storage, found.listing.files)
    files, problems = readable(connection, store.storage, [file.name for file in found.listing.files])
    damaged = [
        f"{path}: {reading.damaged} damaged bytes of the spool left out"
        for path, reading in found.spools.items()
        if reading.damaged
    ]
    tables = [SPAN_SCHEMA.empty_table(), *(pa.Table.from_batches([batch]) for batch in found.spooled)]
    spooled = pa.concat_tables(tables, promote_options="default")  # of another version: by name
    return Stored(files, spooled, [*found.listing.problems, *problems, *damaged])


def _read_remotely(connection: duckdb.DuckDBPyConnection, storage: BucketStorage, files: Sequence[Found]) -> None:
    from .remote import ListedFiles  # noqa: PLC0415  what it needs is loaded for such stores only

    connection.register_filesystem(ListedFiles(storage, files))


def parquet_list(files: Sequence[str]) -> str:
    """Return the SQL that reads the files as one relation, columns matched by name."""
    quoted = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
    return f"read_parquet([{quoted}], union_by_name = true, hive_partitioning = false)"


def readable(
    connection: duckdb.DuckDBPyConnection, storage: Storage, names: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return the paths of the files that can be read, and a line for each that cannot.

    Files are looked at one by one only when all together fail: a store is read far more often than it is damaged.
    """
    paths = [storage.path(name) for name in names]
    if not paths:
        return [], []
    try:
        columns = connection.sql(f"select * from {parquet_list(paths)} limit 0").columns
    except duckdb.Error:
        problems = {name: problem for name in names if (problem := _problem(storage, name))}
        return [storage.path(name) for name in names if name not in problems], list(problems.values())
    if set(columns) <= set(SPAN_SCHEMA.names):
        return paths, []
    return paths, [line for name in names if (line := _newer(storage, name))]


def _newer(storage: Storage, name: str) -> str | None:
    refusal = not_ours(footer_of(storage, name))
    return refusal and f"{storage.path(name)}: read as far as it is known here, {refusal}"


def _problem(storage: Storage, name: str) -> str | None:
    try:
        with storage.open(name) as file:
            pq.read_metadata(file)
    except UnavailableError:  # of all of them, then
        raise
    except (OSError, ValueError) as error:
        return unreadable(storage.path(name), error)
    return None
