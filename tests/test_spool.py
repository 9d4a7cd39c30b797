"""The spool: whatever happens to its bytes, every whole record is read, and what is not is told apart and counted."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_spans import span
from turnledger.exporters import spool
from turnledger.exporters.batches import span_batches
from turnledger.exporters.rolling import recover, roll
from turnledger.exporters.schema import SPAN_SCHEMA
from turnledger.exporters.spool import SpoolFile, batch_record, read_spool, record, spool_files
from turnledger.exporters.store import Store
from turnledger.instrument import attributes as keys
from turnledger.instrument import health

if TYPE_CHECKING:
    from pathlib import Path


def batch(*ids: str) -> pa.RecordBatch:
    """Return a batch of spans with these response ids."""
    (made,) = span_batches([span({keys.RESPONSE_ID: name}) for name in ids])
    return made


def ids(reading: spool.SpoolReading) -> list[str]:
    return [name for found in reading.batches for name in found.column("response_id").to_pylist()]


def content(*batches: pa.RecordBatch) -> bytes:
    return record(SPAN_SCHEMA.serialize()) + b"".join(map(batch_record, batches))


WHOLE = content(batch("a", "b"), batch("c"), batch("d", "e", "f"))
STARTS = [0]
while STARTS[-1] < len(WHOLE):
    STARTS.append(STARTS[-1] + 12 + int.from_bytes(WHOLE[STARTS[-1] + 4 : STARTS[-1] + 8], "little"))
GROUPS = [[], ["a", "b"], ["c"], ["d", "e", "f"]]


def open_spool(folder: Path, **options: Any) -> SpoolFile:
    return SpoolFile(folder / "spool", below=folder, **options)


def test_what_is_appended_is_read(tmp_path: Path):
    file = open_spool(tmp_path)
    for made in (batch("a"), batch("b", "c")):
        file.append(batch_record(made), made.num_rows)
    reading = read_spool(file.path.read_bytes())
    assert (ids(reading), reading.torn, reading.damaged) == (["a", "b", "c"], 0, 0)
    assert (file.rows, file.size) == (3, file.path.stat().st_size)
    file.close()


@given(st.integers(0, len(WHOLE)))
def test_a_torn_end_costs_its_record_only(cut: int):
    reading = read_spool(WHOLE[:cut])
    whole = sum(end <= cut for end in STARTS[1:])
    assert ids(reading) == [name for group in GROUPS[:whole] for name in group]
    assert (reading.torn, reading.damaged) == (cut - STARTS[whole], 0)


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_damaged_byte_costs_its_record_only(place: int, flipped: int):
    data = bytearray(WHOLE)
    data[place] ^= flipped
    hit = sum(start <= place for start in STARTS) - 1
    reading = read_spool(bytes(data))
    assert ids(reading) == [name for number, group in enumerate(GROUPS) if number != hit for name in group]
    assert reading.damaged + reading.torn == STARTS[hit + 1] - STARTS[hit]


@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_whatever_stands_between_records_what_is_whole_is_read(first: bytes, second: bytes):
    data = first + content(batch("a")) + second + batch_record(batch("b")) + first
    reading = read_spool(data)
    assert ids(reading) == ["a", "b"]
    assert reading.damaged + reading.torn == 2 * len(first) + len(second)


def test_a_record_that_is_whole_but_no_batch_is_damage():
    reading = read_spool(content(batch("a")) + record(b"not an Arrow message") + batch_record(batch("b")))
    assert ids(reading) == ["a", "b"]
    assert reading.damaged == 12 + len(b"not an Arrow message")


def test_a_spool_of_another_version_is_read_by_its_own_schema(tmp_path: Path):
    older = pa.schema([field for field in SPAN_SCHEMA if field.name not in ("session_id", "marks_cache")])
    made = batch("a").select([field.name for field in older])
    data = record(older.serialize()) + batch_record(made)
    reading = read_spool(data)
    assert (ids(reading), reading.damaged) == (["a"], 0)
    store = Store.at(tmp_path)
    store.spool.mkdir()
    (store.spool / "1-1-a.spool").write_bytes(data)
    assert recover(store).rows == 1
    assert [path.name for path in tmp_path.glob("spans/*/*")] == ["1-1-a.parquet"]


class Disk:
    """A disk that takes so many bytes and then no more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left, self._write = 1 << 40, os.write
        monkeypatch.setattr(spool.os, "write", self.write)

    def write(self, descriptor: int, data: bytes) -> int:
        """Write what there is room for."""
        if not self.left:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._write(descriptor, data[: self.left])
        self.left -= written
        return written


@pytest.mark.parametrize("left", [0, 1, 700])
def test_a_write_that_fails_in_the_middle_leaves_no_trace(left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file, disk = open_spool(tmp_path), Disk(monkeypatch)
    file.append(batch_record(batch("a")), 1)
    disk.left = left
    with pytest.raises(OSError, match="No space left"):
        file.append(batch_record(batch("lost")), 1)
    disk.left = 1 << 40
    file.append(batch_record(batch("b")), 1)
    reading = read_spool(file.path.read_bytes())
    assert (ids(reading), reading.torn, reading.damaged) == (["a", "b"], 0, 0)
    file.close()


def test_a_disk_that_does_not_confirm_is_counted_and_nothing_is_written_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    health.reset()
    file = open_spool(tmp_path, sync=True)
    monkeypatch.setattr(spool.os, "fdatasync", refuse)
    file.append(batch_record(batch("a")), 1)
    assert ids(read_spool(file.path.read_bytes())) == ["a"]
    assert health.snapshot() == {"store.sync": 1}
    file.close()
    health.reset()


def test_a_removed_file_is_noticed(tmp_path: Path):
    file = open_spool(tmp_path)
    file.path.unlink()
    with pytest.raises(FileNotFoundError, match="was removed while it was written to"):
        file.append(batch_record(batch("a")), 1)
    file.close()


# --- from the spool to Parquet


def test_an_open_spool_is_left_to_its_owner(tmp_path: Path):
    store, file = Store.at(tmp_path), open_spool(tmp_path)
    file.append(batch_record(batch("a")), 1)
    assert recover(store).rows == 0
    assert spool_files(store.spool) == [file.path]
    file.close()
    assert recover(store).rows == 1
    assert spool_files(store.spool) == []
    assert [path.stem for path in tmp_path.glob("spans/*/*")] == [file.path.stem]
    assert recover(store).rows == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_that_lives_on_does_not_keep_the_spool_of_its_parent(tmp_path: Path):
    store, file = Store.at(tmp_path), open_spool(tmp_path)
    file.append(batch_record(batch("a")), 1)
    (ending, end), (begun, begin) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(end)
        os.write(begin, b".")
        os.read(ending, 1)  # until the parent lets go
        os._exit(0)
    os.close(ending)
    try:
        assert os.read(begun, 1) == b"."
        assert recover(store).rows == 0
        file.close()
        assert recover(store).rows == 1
    finally:
        os.close(end)
        assert os.waitpid(child, 0)[1] == 0
        os.close(begun)
        os.close(begin)


def test_a_torn_record_is_counted_when_the_spool_is_taken_over(tmp_path: Path):
    health.reset()
    store, file = Store.at(tmp_path), open_spool(tmp_path)
    file.append(batch_record(batch("a")), 1)
    file.append(batch_record(batch("torn"))[:-5], 1)
    file.close()
    rolled = recover(store)
    assert (rolled.rows, rolled.torn > 0, rolled.damaged) == (1, True, 0)
    assert health.snapshot() == {"spool.torn_records": 1, "spool.rolled_spans": 1}
    health.reset()


def test_days_of_a_spool_that_are_written_already_are_not_written_again(tmp_path: Path):
    store = Store.at(tmp_path)
    day_ns = 86_400 * 10**9
    starts = [1_795_435_200 * 10**9 + number * day_ns for number in range(3)]
    (made,) = span_batches([span(start_ns=start) for start in (*starts, None)])
    file = open_spool(tmp_path)
    file.append(batch_record(made), 4)
    file.close()
    data = file.path.read_bytes()
    assert roll(store, file.path).rows == 4
    days = sorted(path.parent.name for path in tmp_path.glob("spans/*/*"))
    assert days == ["date=1970-01-01", "date=2026-11-23", "date=2026-11-24", "date=2026-11-25"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("spans/*/*")}
    next(tmp_path.glob("spans/date=2026-11-24/*")).unlink()
    file.path.write_bytes(data)  # as if the process had died before it removed the spool
    assert roll(store, file.path).rows == 4
    after = {path: path.stat().st_mtime_ns for path in tmp_path.glob("spans/*/*")}
    assert after.keys() == before.keys()
    assert [path.parent.name for path in after if after[path] != before[path]] == ["date=2026-11-24"]


def test_one_day_that_cannot_be_written_keeps_no_other_spool_waiting(tmp_path: Path):
    store = Store.at(tmp_path)
    for start in (1_795_435_200 * 10**9, 1_795_435_200 * 10**9 + 86_400 * 10**9):
        (made,) = span_batches([span(start_ns=start)])
        file = open_spool(tmp_path)
        file.append(batch_record(made), 1)
        file.close()
    (tmp_path / "spans").mkdir()
    (tmp_path / "spans" / "date=2026-11-23").write_text("a file where a folder should be")
    with pytest.raises(OSError, match="date=2026-11-23"):
        recover(store)
    assert [path.parent.name for path in tmp_path.glob("spans/*/*")] == ["date=2026-11-24"]
    assert len(spool_files(store.spool)) == 1
    (tmp_path / "spans" / "date=2026-11-23").unlink()
    assert recover(store).rows == 1
