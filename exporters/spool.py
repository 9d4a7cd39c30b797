"""The spool: files to which each process appends its ended spans, until they become Parquet.

A file is a sequence of records: a mark, the length and the checksum of what follows, and that itself. The first one
holds the Arrow schema, each further one a batch of spans as an Arrow IPC message. Records are appended whole, so that
after any kind of death a file has at most one torn record, its last; the checksum tells.
"""

from __future__ import annotations

import os
import secrets
import struct
import time
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from ..instrument import health
from .locks import close, keep_from_children, try_lock
from .schema import SPAN_SCHEMA
from .storage import create_file, make_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENDING: Final = ".spool"
ASKED: Final = ".asked"
"""Ending of an empty file beside a spool: somebody waits for its spans to become Parquet."""

ROLL_BYTES: Final = 32 << 20
"""A spool is set aside when it is that large."""

_MARK: Final = b"\x9atl\x01"
_HEADER: Final = struct.Struct("<4sII")
_APPEND: Final = getattr(os, "O_APPEND", 0)


def new_stem() -> str:
    """Return a name no other file has; names sort by the time of writing."""
    return f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}"


def record(message: pa.Buffer | bytes) -> bytes:
    """Return a message as a record."""
    return b"".join((_HEADER.pack(_MARK, len(message), zlib.crc32(message)), memoryview(message)))


def batch_record(batch: pa.RecordBatch) -> bytes:
    """Return a batch of spans as a record."""
    return record(batch.serialize())


class SpoolFile:
    """A new file in a folder of spools, locked as long as it is open.

    Args:
        folder: the folder; it is made where there is none.
        below: the store's folder, below which no link is followed.
        sync: wait until the disk has each write.

    Raises:
        OSError: if it cannot be made.
    """

    def __init__(self, folder: Path, *, below: Path, sync: bool = False) -> None:
        make_folder(folder, below=below)
        self.path = folder / f"{new_stem()}{ENDING}"
        self.rows, self.size, self._sync = 0, 0, sync
        self._descriptor = keep_from_children(create_file(self.path, _APPEND))
        try:
            _lock(self._descriptor, self.path)
            self._write(record(SPAN_SCHEMA.serialize()))
        except BaseException:
            self.close()
            raise

    def append(self, records: bytes, rows: int) -> None:
        """Append records with one write.

        Raises:
            OSError: if they could not be written; none of them is in the file then.
            FileNotFoundError: if somebody has removed the file: what was in it before is gone.
        """
        self._write(records)
        self.rows += rows
        if os.fstat(self._descriptor).st_nlink == 0:
            raise FileNotFoundError(f"{self.path} was removed while it was written to")

    def _write(self, data: bytes) -> None:
        try:
            written = os.write(self._descriptor, data)
            while written < len(data):  # rare: a signal, or a disk that is nearly full
                written += os.write(self._descriptor, memoryview(data)[written:])
        except OSError:
            os.ftruncate(self._descriptor, self.size)  # what comes next begins where the last whole record ends
            raise
        self.size += len(data)
        if self._sync:
            self._synchronise()

    def _synchronise(self) -> None:
        try:
            (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(self._descriptor)
        except OSError as error:  # it is written, and must not be written again
            health.failed("store.sync", error)

    def is_there(self) -> bool:
        """Tell whether the file still has its name."""
        return os.fstat(self._descriptor).st_nlink > 0

    def close(self) -> None:
        """Close the file, and with that let go of its lock."""
        close(self._descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        is_ours = try_lock(descriptor)
    except OSError as error:  # a file system without locks: only its age tells when a spool has no owner any more
        health.failed("store.lock", error)
        is_ours = True
    if not is_ours:
        raise BlockingIOError(f"{path} was taken by another process as it was made")


@dataclass
class SpoolReading:
    """What a spool holds.

    Attributes:
        batches: the spans.
        torn: bytes of a last record that was not written to its end.
        damaged: bytes before that which are no whole record.
    """

    batches: list[pa.RecordBatch] = field(default_factory=list[pa.RecordBatch])
    torn: int = 0
    damaged: int = 0

    @property
    def rows(self) -> int:
        """How many spans there are."""
        return sum(batch.num_rows for batch in self.batches)


def read_spool(data: bytes) -> SpoolReading:
    """Return what the content of a spool holds; whatever the bytes, what can be read is read."""
    reading = SpoolReading()
    schema: pa.Schema = SPAN_SCHEMA
    end = 0
    for start, message in _records(data):
        reading.damaged += start - end
        end = start + _HEADER.size + len(message)
        try:
            found = pa.ipc.read_message(message)
            if found.type == "schema":
                schema = pa.ipc.read_schema(found)
            else:
                batch = pa.ipc.read_record_batch(found, schema)
                batch.validate(full=True)
                reading.batches.append(batch)
        except (pa.ArrowException, OSError, ValueError, TypeError):
            reading.damaged += end - start
    reading.torn = len(data) - end
    return reading


def _records(data: bytes) -> Iterator[tuple[int, memoryview]]:
    """Yield start and message of each whole record."""
    view, start = memoryview(data), data.find(_MARK)
    while 0 <= start <= len(data) - _HEADER.size:
        _, length, checksum = _HEADER.unpack_from(data, start)
        message = view[start + _HEADER.size : start + _HEADER.size + length]
        if len(message) == length and zlib.crc32(message) == checksum:
            yield start, message
            start = data.find(_MARK, start + _HEADER.size + length)
        else:
            start = data.find(_MARK, start + 1)


def spool_files(folder: Path) -> list[Path]:
    """Return the spools of a folder in order of time, links left out."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ENDING and not path.is_symlink())
    except (FileNotFoundError, NotADirectoryError):
        return []
