"""Everything a store's folder holds, as bytes: files as they are, and what is compressed in them decompressed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from turnledger.exporters.spool import ENDING, read_spool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from turnledger.exporters.store import Store


class Piece(NamedTuple):
    """Where something stands, and its bytes."""

    place: str
    data: bytes


def pieces(store: Store) -> Iterator[Piece]:
    """Yield every file, every buffer of every spooled batch, and every column of Parquet, also of the spill folder."""
    root = store.spool.parent
    files = [path for folder in {root, *store.spools} for path in folder.rglob("*") if path.is_file()]
    for path in sorted(set(files)):
        name, data = str(path.relative_to(root) if path.is_relative_to(root) else path), path.read_bytes()
        yield Piece(name, name.encode() + b"\n" + data)
        if path.suffix == ENDING:
            reading = read_spool(data)
            assert (reading.torn, reading.damaged) == (0, 0), path
            for batch in reading.batches:
                yield from _columns(f"{name} (decoded)", batch.schema, (([column]) for column in batch.columns))
        elif path.suffix == ".parquet":
            table = pq.ParquetFile(path).read()
            yield Piece(f"{name} (metadata)", repr(table.schema.metadata).encode())
            yield from _columns(name, table.schema, (column.chunks for column in table.columns))


def _columns(name: str, schema: pa.Schema, columns: Iterable[Iterable[pa.Array]]) -> Iterator[Piece]:
    for field, chunks in zip(schema, columns, strict=True):
        held = (buffer.to_pybytes() for chunk in chunks for buffer in chunk.buffers() if buffer is not None)
        yield Piece(f"{name}: {field.name}", b"\n".join(held))
