"""From rows to Parquet: files that are whole or not there, and values that do not fit cost themselves only."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
import turnledger
from made_spans import row, span
from opentelemetry.sdk.trace.export import SpanExportResult
from turnledger.exporters import parquet
from turnledger.exporters.parquet import ParquetSpanExporter, SpanWriter
from turnledger.exporters.schema import SCHEMA_VERSION, SPAN_SCHEMA
from turnledger.exporters.store import UNKNOWN_DATE, Store
from turnledger.instrument import attributes as keys

if TYPE_CHECKING:
    from collections.abc import Callable

    Stored = Callable[[Path], list[dict[str, Any]]]


def files(root: Path) -> list[str]:
    """Return every file of a store, hidden ones too."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_days_are_those_of_utc(tmp_path: Path, stored: Stored):
    last = datetime(2026, 11, 23, 23, 59, 59, 999999, tzinfo=UTC)
    writer = SpanWriter(Store.at(tmp_path))
    for start_ns in (
        int(last.timestamp()) * 10**9 + 999_999_999,
        (int(last.timestamp()) + 1) * 10**9,
        None,
    ):
        writer.add(row(start_ns=start_ns))
    assert files(tmp_path) == []
    writer.close()
    days = ["date=1970-01-01", "date=2026-11-23", "date=2026-11-24"]
    assert [Path(name).parent.name for name in files(tmp_path)] == days
    assert days[0].endswith(UNKNOWN_DATE)
    assert [found["started_at"] for found in stored(tmp_path)] == [last, last.replace(day=24, **_MIDNIGHT), None]
    writer.close()
    assert len(files(tmp_path)) == 3  # nothing is written twice


_MIDNIGHT: dict[str, Any] = {"hour": 0, "minute": 0, "second": 0, "microsecond": 0}


def test_a_file_has_the_schema_whatever_its_rows_lack(tmp_path: Path):
    path = parquet.write_rows(tmp_path, [row()])
    assert pq.read_schema(path).equals(SPAN_SCHEMA)
    assert pq.read_schema(path).metadata[b"turnledger.schema_version"] == str(SCHEMA_VERSION).encode()


def test_files_sort_by_time_and_never_collide(tmp_path: Path):
    paths = [parquet.write_rows(tmp_path, [row()]) for _ in range(5)]
    assert paths == sorted(paths)
    assert len(set(paths)) == 5


def test_a_day_with_many_rows_is_written_in_between(tmp_path: Path, stored: Stored):
    writer = SpanWriter(Store.at(tmp_path), rows_per_file=2)
    for _ in range(5):
        writer.add(row())
    assert len(files(tmp_path)) == 2
    writer.close()
    assert len(stored(tmp_path)) == 5


class _Disk:
    """A disk that can be told to fail at a step of writing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failing: str | None = None
        for owner, name in ((parquet.os, "fsync"), (parquet.pq, "write_table"), (Path, "rename")):
            monkeypatch.setattr(owner, name, self._step(name, getattr(owner, name)))

    def _step(self, name: str, original: Any) -> Any:
        def step(*args: Any, **kwargs: Any) -> Any:
            if self.failing == name:
                if name == "write_table":
                    args[1].write(b"PAR1 half a file")
                raise OSError(28, "No space left on device")
            return original(*args, **kwargs)

        return step


@pytest.mark.parametrize("step", ["write_table", "fsync", "rename"])
def test_a_failed_write_leaves_nothing_and_loses_nothing(
    step: str, tmp_path: Path, stored: Stored, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    disk = _Disk(monkeypatch)
    exporter = ParquetSpanExporter(tmp_path)
    disk.failing = step
    assert exporter.export([span(), span()]) is SpanExportResult.FAILURE
    assert not exporter.force_flush()
    assert files(tmp_path) == []
    assert f"cannot write to the store at {tmp_path}" in caplog.text
    disk.failing = None
    assert exporter.export([span()]) is SpanExportResult.SUCCESS
    assert len(files(tmp_path)) == 1
    assert len(stored(tmp_path)) == 3
    exporter.shutdown()
    assert len(stored(tmp_path)) == 3


def test_a_batch_over_the_size_of_a_file_loses_nothing_either(tmp_path: Path, stored: Stored, monkeypatch: Any):
    disk = _Disk(monkeypatch)
    exporter = ParquetSpanExporter(tmp_path)
    exporter._writer._rows_per_file = 2
    disk.failing = "fsync"
    assert exporter.export([span() for _ in range(7)]) is SpanExportResult.FAILURE
    disk.failing = None
    assert exporter.force_flush()
    assert len(stored(tmp_path)) == 7


def test_a_store_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "spans").write_text("a file where a folder should be")
    assert ParquetSpanExporter(tmp_path).export([span()]) is SpanExportResult.FAILURE


def test_a_value_that_does_not_fit_costs_its_column_only(
    tmp_path: Path, stored: Stored, caplog: pytest.LogCaptureFixture
):
    writer = SpanWriter(Store.at(tmp_path))
    writer.add({**row({keys.INPUT_TOKENS: 3}), "billed_cost_usd": Decimal("1e20"), "response_id": "first"})
    writer.add({**row({keys.INPUT_TOKENS: 4}), "name": "lone \ud800 surrogate", "response_id": "second"})
    writer.add({**row({keys.INPUT_TOKENS: 5}), "response_id": "third"})
    with caplog.at_level(logging.WARNING):
        writer.close()
    found = sorted(stored(tmp_path), key=lambda each: each["input_tokens"])
    assert [(each["response_id"], each["input_tokens"]) for each in found] == [
        ("first", 3),
        ("second", 4),
        ("third", 5),
    ]
    assert [(each["billed_cost_usd"], each["name"]) for each in found] == [
        (None, "chat m"),
        (None, None),
        (None, "chat m"),
    ]
    assert [record.getMessage().split(" of ")[0] for record in caplog.records] == [
        "turnledger: column billed_cost_usd",
        "turnledger: column name",
    ]


# --- where it is found


def test_the_entry_point_is_the_exporter():
    (found,) = entry_points(group="opentelemetry_traces_exporter", name="turnledger")
    assert found.load() is ParquetSpanExporter is turnledger.ParquetSpanExporter


def test_the_store_is_where_it_was_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TURNLEDGER_STORE", raising=False)
    assert ParquetSpanExporter().store.root == tmp_path / "turnledger-data"
    monkeypatch.setenv("TURNLEDGER_STORE", str(tmp_path / "of-the-environment"))
    assert ParquetSpanExporter().store.root == tmp_path / "of-the-environment"
    assert ParquetSpanExporter("said").store.root == tmp_path / "said"
    assert files(tmp_path) == []  # nothing is made before there is a span
