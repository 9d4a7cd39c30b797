"""The exporter: spans are in the spool at once, in Parquet later, and values that do not fit cost themselves."""

from __future__ import annotations

import logging
import os
import stat
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
from turnledger.exporters import storage
from turnledger.exporters.parquet import ParquetSpanExporter
from turnledger.exporters.schema import SCHEMA_VERSION, SPAN_SCHEMA
from turnledger.exporters.store import UNKNOWN_DATE, Store
from turnledger.exporters.writing import SpanWriter, write_rows
from turnledger.instrument import attributes as keys

if TYPE_CHECKING:
    from collections.abc import Callable

    Stored = Callable[[Path], list[dict[str, Any]]]


def files(root: Path) -> list[str]:
    """Return every file of a store, hidden ones too."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


# --- rows straight to Parquet


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
    path = tmp_path / write_rows(
        Store.at(tmp_path), "2026-11-23", [{"schema_version": 1, "span_id": "a", "trace_id": "b"}]
    )
    assert pq.read_schema(path).equals(SPAN_SCHEMA)
    assert pq.read_schema(path).metadata[b"turnledger.schema_version"] == str(SCHEMA_VERSION).encode()


def test_files_sort_by_time_and_never_collide(tmp_path: Path):
    names = [write_rows(Store.at(tmp_path), "2026-11-23", [row()]) for _ in range(5)]
    assert names == sorted(names)
    assert len(set(names)) == 5


def test_a_day_with_many_rows_is_written_in_between(tmp_path: Path, stored: Stored):
    writer = SpanWriter(Store.at(tmp_path), rows_per_file=2)
    for _ in range(5):
        writer.add(row())
    assert len(files(tmp_path)) == 2
    writer.close()
    assert len(stored(tmp_path)) == 5


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_nothing_and_loses_nothing(
    step: str, tmp_path: Path, stored: Stored, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    writer = SpanWriter(Store.at(tmp_path))
    writer.add(row())
    with monkeypatch.context() as patch:
        patch.setattr(*((storage.os, "fsync", full) if step == "fsync" else (Path, "replace", full)))
        with pytest.raises(OSError, match="No space left"):
            writer.close()
    assert files(tmp_path) == []
    writer.close()
    assert len(stored(tmp_path)) == 1


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
        (None, "lone ? surrogate"),
        (None, "chat m"),
    ]
    assert [record.getMessage().split(" of span")[0] for record in caplog.records] == [
        "turnledger: a value of column billed_cost_usd"
    ]


# --- the exporter


def test_spans_are_in_the_spool_first_and_in_parquet_at_last(tmp_path: Path, stored: Stored):
    exporter = ParquetSpanExporter(tmp_path)
    assert exporter.export([span(), span()]) is SpanExportResult.SUCCESS
    assert exporter.force_flush(10_000)
    assert [Path(name).parent.name for name in files(tmp_path)] == ["spool"]
    assert len(stored(tmp_path)) == 2
    exporter.shutdown()
    written = files(tmp_path)  # what the exporter says of itself is of the day it ends
    assert {Path(name).suffix for name in written} == {".parquet"}
    assert "date=2026-11-23" in {Path(name).parent.name for name in written}
    assert len(stored(tmp_path)) == 2
    exporter.shutdown()
    assert files(tmp_path) == written


def test_what_is_exported_after_the_end_is_there_as_well(tmp_path: Path, stored: Stored):
    exporter = ParquetSpanExporter(tmp_path)
    exporter.shutdown()
    assert files(tmp_path) == []
    exporter.export([span()])
    assert len(stored(tmp_path)) == 1
    exporter.shutdown()
    assert {Path(name).suffix for name in files(tmp_path)} == {".parquet"}
    assert len(stored(tmp_path)) == 1


@pytest.mark.parametrize("durability", ["span", "disk"])
def test_spans_are_in_the_file_when_export_returns(durability: Any, tmp_path: Path, stored: Stored):
    exporter = ParquetSpanExporter(tmp_path, durability=durability)
    for number in range(1, 4):
        assert exporter.export([span()]) is SpanExportResult.SUCCESS
        assert len(stored(tmp_path)) == number
    exporter.shutdown()


def test_an_unknown_durability_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="no durability 'never': it is one of batch, span, disk"):
        ParquetSpanExporter(tmp_path, durability="never")  # pyright: ignore[reportArgumentType]


def test_files_are_the_owner_s_alone(tmp_path: Path):
    exporter = ParquetSpanExporter(tmp_path / "store")
    exporter.export([span()])
    exporter.digest_key()
    assert exporter.force_flush(10_000)
    (spool,) = (tmp_path / "store" / "spool").iterdir()
    assert stat.S_IMODE(spool.stat().st_mode) == 0o600
    exporter.shutdown()
    for path in (tmp_path / "store", *(tmp_path / "store").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("folder", ["spool", "spans", "meta"])
def test_no_link_is_followed_out_of_the_store(folder: str, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / folder).symlink_to(outside)
    exporter = ParquetSpanExporter(tmp_path / "store")
    if folder == "meta":
        with pytest.raises(OSError, match="not followed"):
            exporter.digest_key()
    exporter.export([span()])
    exporter.shutdown()
    assert list(outside.iterdir()) == []


def test_a_linked_file_is_not_read(tmp_path: Path, stored: Stored):
    elsewhere = Store.at(tmp_path / "elsewhere")
    name = write_rows(elsewhere, "2026-11-23", [row()])
    store = Store.at(tmp_path / "store")
    write_rows(store, "2026-11-23", [row()])
    (store.root / name).symlink_to(elsewhere.root / name)
    (store.root / "spans" / "date=2026-11-24").symlink_to(elsewhere.root / "spans" / "date=2026-11-23")
    assert len(stored(store.root)) == 1
    with turnledger.open(store.root) as ledger:
        assert [problem.partition(": ")[2] for problem in ledger.problems] == [
            "left out, it is a link, and links are not followed"
        ] * 2


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
    assert os.environ["TURNLEDGER_STORE"]
