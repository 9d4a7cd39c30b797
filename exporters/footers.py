"""What a file of spans says of itself at its end: its version, its size, which files it replaces."""

from __future__ import annotations

import contextlib
import os
from typing import IO, TYPE_CHECKING, Final, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from .schema import FILE_VERSION, SCHEMA_VERSION, SPAN_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from .storage import Storage

_REPLACES: Final = b"turnledger.replaces"
_FOOTER_BYTES: Final = 1 << 16
"""As much of a file's end is read at once; few have a larger footer."""


class Footer(NamedTuple):
    """What a file says of itself.

    Attributes:
        version: of its columns; 0 where it says none.
        rows: how many spans it holds.
        uncompressed: its bytes before compression.
        replaces: the stems whose spans it holds in their place.
        unknown: columns that today's spans do not have.
    """

    version: int
    rows: int
    uncompressed: int
    replaces: list[str]
    unknown: list[str]


def footer_of(storage: Storage, name: str) -> Footer:
    """Return what a file says of itself.

    Raises:
        OSError: if it cannot be read for now.
        ValueError: if it is damaged.
    """
    found = _read(storage, name)
    said = found.metadata or {}
    version = said.get(FILE_VERSION, b"0")
    return Footer(
        int(version) if version.isdigit() else 0,
        found.num_rows,
        sum(found.row_group(index).total_byte_size for index in range(found.num_row_groups)),
        [str(stem) for stem in orjson.loads(said.get(_REPLACES, b"[]"))],
        sorted(set(found.schema.to_arrow_schema().names) - set(SPAN_SCHEMA.names)),
    )


@contextlib.contextmanager
def damage_as_value_error() -> Generator[None]:
    """Raise ValueError where Arrow finds a file damaged, so that OSError says that it cannot be read for now."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # Arrow's own of a damaged file have none
            raise
        raise ValueError(f"it is damaged ({error})") from error


def not_ours(footer: Footer) -> str | None:
    """Return why a file cannot be rewritten without losing what it holds, None if it can be."""
    if footer.version > SCHEMA_VERSION:
        return f"written by a newer turnledger (version {footer.version} of the columns): upgrade"
    if footer.unknown:
        return f"it has columns that this turnledger does not know ({', '.join(footer.unknown)[:80]})"
    return None


def replacing(schema: pa.Schema, stems: Iterable[str]) -> pa.Schema:
    """Return a schema whose file replaces others."""
    return schema.with_metadata({**(schema.metadata or {}), _REPLACES: orjson.dumps(sorted(stems))})


def _read(storage: Storage, name: str) -> pq.FileMetaData:
    with storage.open(name) as file:
        size = file.seek(0, os.SEEK_END)
        tail = _tail(file, size, _FOOTER_BYTES)
        length = int.from_bytes(tail[-8:-4], "little") + 8
        if len(tail) < length <= size:
            tail = _tail(file, size, length)
    with damage_as_value_error():
        return pq.read_metadata(pa.BufferReader(tail))


def _tail(file: IO[bytes], size: int, length: int) -> bytes:
    file.seek(max(0, size - length))
    return file.read(length)
