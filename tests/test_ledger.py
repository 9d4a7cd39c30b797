"""Opening a store: what is missing, damaged, old or hostile there, and what queries may touch."""

from __future__ import annotations

import os
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import turnledger
from store_rows import NOON, call_row, write_store
from turnledger.analysis import sql as models
from turnledger.analysis.ledger import StoreError
from turnledger.exporters.store import day_folder
from turnledger.exporters.writing import write_rows

if TYPE_CHECKING:
    from pathlib import Path


def test_no_store_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no store at .*missing.*record or import calls first"):
        turnledger.open(tmp_path / "missing")


def test_an_empty_store_has_every_model_with_its_types(tmp_path: Path) -> None:
    with turnledger.open(tmp_path) as ledger:
        assert ledger.calls().is_empty()
        assert ledger.calls().schema["cost_usd"] == pl.Decimal(38, 18)
        assert ledger.conversations().is_empty()
        assert ledger.attempts().is_empty()
        assert ledger.costs().is_empty()
        assert ledger.sql("from prices").height > 1000
        assert "openai" in ledger.sql("select provider from providers").to_series().to_list()


def test_a_damaged_file_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    store = write_store(tmp_path, [call_row()])
    broken = store.root / day_folder("2026-11-01") / "0-broken.parquet"
    broken.write_bytes(b"PAR1 half a file")
    (broken.parent / ".1-half.parquet.tmp").write_bytes(b"being written")
    with turnledger.open(tmp_path) as ledger:
        assert ledger.calls().height == 1
        (problem,) = ledger.problems
        assert str(broken) in problem


def test_files_of_an_older_schema_are_read_with_null_for_what_they_lack(tmp_path: Path) -> None:
    store = write_store(tmp_path, [call_row()])
    path = store.root / write_rows(store, "2026-11-01", [call_row(user_id="u")])
    old = pq.read_table(path).drop_columns(["user_id", "usage_details"]).append_column("later", pa.array(["x"]))
    pq.write_table(old, path)
    with turnledger.open(tmp_path) as ledger:
        assert ledger.sql("select count(*), count(user_id), count(cost_usd) from calls").rows() == [(2, 0, 2)]


def test_a_store_in_a_folder_with_a_quote_in_its_name(tmp_path: Path) -> None:
    store = write_store(tmp_path / "it's a store", [call_row()])
    with turnledger.open(store.root) as ledger:
        assert ledger.calls().height == 1


def test_the_store_is_found_by_argument_then_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_store(tmp_path / "a", [call_row()])
    write_store(tmp_path / "b", [call_row(), call_row()])
    monkeypatch.setenv("TURNLEDGER_STORE", str(tmp_path / "a"))
    with turnledger.open() as by_environment, turnledger.open(tmp_path / "b") as by_argument:
        assert (by_environment.calls().height, by_argument.calls().height) == (1, 2)


def test_calls_are_filtered_and_come_newest_first(tmp_path: Path) -> None:
    rows = [
        call_row(conversation_id="a", started_at=NOON),
        call_row(conversation_id="b", started_at=NOON + timedelta(hours=1)),
        call_row(conversation_id="b", started_at=None, provider="anthropic"),
    ]
    with turnledger.open(write_store(tmp_path, rows).root) as ledger:
        assert ledger.calls()["call_id"].to_list() == [rows[1]["call_id"], rows[0]["call_id"], rows[2]["call_id"]]
        assert ledger.calls(conversation="b")["call_id"].to_list() == [rows[1]["call_id"], rows[2]["call_id"]]
        assert ledger.calls(provider="anthropic").height == 1
        assert ledger.calls(since=NOON + timedelta(minutes=1))["call_id"].to_list() == [rows[1]["call_id"]]
        assert ledger.calls(limit=1).height == 1
        assert ledger.attempts(call=rows[0]["call_id"]).height == 1
        assert ledger.conversations(since=NOON + timedelta(minutes=1))["conversation_id"].to_list() == ["b"]


def test_costs_are_grouped_by_names_and_tags(tmp_path: Path) -> None:
    rows = [
        call_row(tags=[("team's", "x")], user_id="u1"),
        call_row(tags=[("team's", "x")], user_id="u2"),
        call_row(tags=None, user_id="u2"),
    ]
    with turnledger.open(write_store(tmp_path, rows).root) as ledger:
        assert ledger.costs("tag:team's").select("team's", "calls", "cost_usd").rows() == [
            ("x", 2, Decimal("0.00015")),
            (None, 1, Decimal("0.000075")),
        ]
        assert ledger.costs(["user", "day"]).select("user", "calls").rows() == [("u2", 2), ("u1", 1)]
        with pytest.raises(ValueError, match=r"cannot group costs by 'nothing'; known: conversation, .*tag:<name>"):
            ledger.costs("nothing")


def test_queries_take_parameters(tmp_path: Path) -> None:
    with turnledger.open(write_store(tmp_path, [call_row(conversation_id="it's")]).root) as ledger:
        assert ledger.sql("select count(*) from calls where conversation_id = ?", ["it's"]).item() == 1
        assert ledger.sql("select count(*) from calls where conversation_id = $id", {"id": "no"}).item() == 0


def test_a_query_sees_no_variable_of_the_program(tmp_path: Path) -> None:
    secret = pl.DataFrame({"a": [1]})
    with turnledger.open(tmp_path) as ledger, pytest.raises(duckdb.Error, match="secret"):
        ledger.sql("select * from secret")
    assert secret.height == 1


@pytest.mark.parametrize(
    "query",
    [
        "from read_csv('{outside}')",
        "from read_text('{outside}')",
        "from '{outside}'",
        "copy (select 1) to '{outside}'",
        "attach '{outside}' as x",
        "set enable_external_access = true",
        "install httpfs",
    ],
)
def test_a_ledger_that_only_reads_touches_nothing_else(tmp_path: Path, query: str) -> None:
    outside = tmp_path / "outside.csv"
    outside.write_text("a\n1\n")
    store = write_store(tmp_path / "store", [call_row()])
    with turnledger.open(store.root) as ledger:
        ledger.only_read()
        with pytest.raises(duckdb.Error):
            ledger.sql(query.format(outside=outside))
        assert ledger.calls().height == 1
    assert outside.read_text() == "a\n1\n"


def test_limits_are_passed_on_and_nothing_is_left_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = write_store(tmp_path / "store", [call_row()])
    with turnledger.open(store.root, memory_limit="200MB", threads=1) as ledger:
        assert ledger.sql("select current_setting('threads')").item() == 1
        assert ledger.sql("select current_setting('TimeZone')").item() == "UTC"
        assert ledger.calls().height == 1
    assert os.listdir(tmp_path) == ["store"]  # noqa: PTH208  the names are what is asserted


def test_counts_that_are_none_stop_no_report(tmp_path: Path) -> None:
    most = (1 << 63) - 1
    sizes = [{"role": role, "messages": 1, "size": 10, "media": 0, "digest": role} for role in ("user", "assistant")]
    counts = dict.fromkeys(("input_tokens", "output_tokens", "cache_read_tokens", "reasoning_tokens"), most)
    rows = [
        call_row(**counts, conversation_id="c", conversation_source="app", message_sizes=sizes, message_count=1)
        for _ in range(3)
    ]
    write_store(tmp_path, [*rows, call_row()])
    with turnledger.open(tmp_path) as ledger:
        for model in models.ORDER:
            ledger.sql(f"from {model}")
        totals = {row["conversation"]: row for row in ledger.costs("conversation").to_dicts()}
        assert totals["c"]["input_tokens"] is None
        assert ledger.sql("select count(*) from unpriced_calls").item() == 3
