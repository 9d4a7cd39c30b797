"""Tie-out: a ledger against providers' exports; each verdict and cause by a fault, pages, currencies, hostile files."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import turnledger
from commands import run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_rows import call_row, write_store
from turnledger.analysis.pricing.overrides import PRICES_FILE
from turnledger.analysis.reconciling.reading import ExportError

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl
    from turnledger.exporters.store import Store

DAY = datetime(2026, 11, 1, tzinfo=UTC)
MINI, MINI_DATED = "gpt-4.1-mini", "gpt-4.1-mini-2025-04-14"


def call(day: int = 0, hour: int = 12, **said: Any) -> dict[str, Any]:
    """Return a call of a thousand tokens in and a hundred out: 0.00056 USD."""
    return call_row(
        **{
            "request_model": MINI,
            "response_model": MINI_DATED,
            "started_at": DAY + timedelta(days=day, hours=hour),
            "input_tokens": 1000,
            "output_tokens": 100,
            "identifiers": [("project_id", ["proj_a"])],
        }
        | said
    )


COST = Decimal("0.00056")


def page(name: str, results: dict[int, list[dict[str, Any]]], **beside: Any) -> dict[str, Any]:
    """Return a page of results by day, as the API has it."""
    buckets = [
        {
            "object": "bucket",
            "start_time": int((DAY + timedelta(days=day)).timestamp()),
            "end_time": int((DAY + timedelta(days=day + 1)).timestamp()),
            "results": [{"object": f"organization.{name}.result", **row} for row in rows],
        }
        for day, rows in results.items()
    ]
    return {"object": "page", "data": buckets, "has_more": False, "next_page": None, **beside}


def usage(calls: int, **said: Any) -> dict[str, Any]:
    """Return a result of the usage API for so many of these calls."""
    return {
        "input_tokens": 1000 * calls,
        "output_tokens": 100 * calls,
        "input_cached_tokens": 0,
        "num_model_requests": calls,
        "model": MINI_DATED,
        "project_id": "proj_a",
    } | said


def costs(calls: int, **said: Any) -> list[dict[str, Any]]:
    """Return the results of the costs API for so many of these calls."""
    parts = {"input": Decimal("0.0004"), "output": Decimal("0.00016")}
    return [
        {
            "amount": {"value": float(usd * calls), "currency": "usd"},
            "line_item": f"{MINI_DATED}, {part}",
            "project_id": "proj_a",
        }
        | said
        for part, usd in parts.items()
    ]


def tied(folder: Path, rows: list[dict[str, Any]], *exports: Any, **options: Any) -> pl.DataFrame:
    """Return what comes of a store of these calls and these exports."""
    store = write_store(folder / "store", rows)
    files: list[Path] = []
    for number, content in enumerate(exports):
        files.append(folder / f"export{number}.json")
        files[-1].write_text(content if isinstance(content, str) else json.dumps(content))
    with turnledger.open(store.root) as ledger:
        frame, warnings = turnledger.reconcile(ledger, files, **options)
    assert warnings == []
    return frame


def verdicts(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    return frame.select("export", "verdict", "cause").rows()


# --- verdicts


def test_usage_and_costs_that_match(tmp_path: Path):
    rows = [call(), call(), call(1)]
    found = tied(
        *(tmp_path, rows),
        page("usage.completions", {0: [usage(2)], 1: [usage(1)]}),
        page("costs", {0: costs(2), 1: costs(1)}),
    )
    assert verdicts(found) == [("usage", "matched", None)] * 2 + [("costs", "matched", None)] * 2
    assert found.select("model", "key", "ours_usd", "theirs_usd", "ours_calls", "theirs_calls").rows() == [
        (MINI_DATED, "proj_a", None, None, 2, 2),
        (MINI_DATED, "proj_a", None, None, 1, 1),
        (MINI_DATED, "proj_a", 2 * COST, 2 * COST, 2, None),
        (MINI_DATED, "proj_a", COST, COST, 1, None),
    ]


def test_what_was_not_recorded(tmp_path: Path):
    found = tied(tmp_path, [call()], page("usage", {0: [usage(3)], 1: [usage(1, model="gpt-5")]}))
    assert verdicts(found) == [
        ("usage", "different usage", "2 calls were not recorded here"),
        (
            *("usage", "missing here"),
            "none of these calls was recorded: other applications, or capture that was not switched on",
        ),
    ]


def test_what_is_not_in_the_export(tmp_path: Path):
    other = call(0, request_model="gpt-4o", response_model="gpt-4o-2024-08-06")
    found = tied(tmp_path, [call(), call(), other], page("usage", {0: [usage(1)]}))
    assert [row[1] for row in verdicts(found)] == ["different usage", "missing there"]
    assert "1 calls more here: billed elsewhere, or not at all" in found["cause"].to_list()


def test_another_price(tmp_path: Path):
    results = costs(4)
    for row in results:
        row["amount"]["value"] *= 0.88
    found = tied(tmp_path, [call() for _ in range(4)], page("costs", {0: results}))
    assert verdicts(found) == [
        (
            *("costs", "different price"),
            "billed at 0.8800 of the cost here: a contract price, credits, or a price since changed",
        )
    ]
    assert found["difference_share"].item() == pytest.approx(1 / 0.88 - 1)


def test_calls_without_a_cost(tmp_path: Path):
    unpriced = dict.fromkeys(("request_model", "response_model"), "secret-preview")
    results = [{"amount": {"value": 0.5, "currency": "usd"}, "line_item": "secret-preview, input", "project_id": None}]
    found = tied(tmp_path, [call(**unpriced)], page("costs", {0: results}))
    assert verdicts(found) == [("costs", "different price", "1 calls have no cost here (unpriced_calls)")]


def test_buckets_that_differ(tmp_path: Path):
    found = tied(tmp_path, [call()], page("usage", {0: [usage(1, input_cached_tokens=512)]}))
    assert verdicts(found) == [("usage", "different usage", "cache read tokens: fewer here")]


def test_days_that_begin_at_another_time(tmp_path: Path):
    found = tied(tmp_path, [call(0, 23), call(1)], page("usage", {0: [], 1: [usage(2)]}))
    cause = "calls around midnight: over all days the two sides agree"
    assert verdicts(found) == [("usage", "missing there", cause), ("usage", "different usage", cause)]
    found = tied(tmp_path / "b", [call(0, 23), call(0), call(1)], page("usage", {0: [usage(1)], 1: [usage(2)]}))
    assert set(found["cause"]) == {cause}


# --- how finely


def test_costs_by_day_alone_are_compared_with_all_models(tmp_path: Path):
    rows = [call(), call(0, request_model="gpt-4o", response_model="gpt-4o-2024-08-06", identifiers=None)]
    whole = {"amount": {"value": 0.00406, "currency": "usd"}, "line_item": None, "project_id": None}
    found = tied(tmp_path, rows, page("costs", {0: [whole]}))
    assert found.select("model", "key", "verdict", "ours_usd").rows() == [(None, None, "matched", Decimal("0.00406"))]


def test_projects_are_told_apart(tmp_path: Path):
    rows = [call(), call(identifiers=[("project_id", ["proj_b"])])]
    found = tied(tmp_path, rows, page("usage", {0: [usage(1), usage(2, project_id="proj_b")]}))
    assert found.select("key", "verdict").rows() == [("proj_a", "matched"), ("proj_b", "different usage")]


def test_a_dated_name_and_a_plain_one_are_one_model(tmp_path: Path):
    assert verdicts(tied(tmp_path, [call()], page("usage", {0: [usage(1, model=MINI)]}))) == [
        ("usage", "matched", None)
    ]


def test_only_some_days(tmp_path: Path):
    rows, export = [call(), call(1), call(2)], page("usage", {0: [usage(9)], 1: [usage(1)], 2: [usage(9)]})
    day = (DAY + timedelta(days=1)).date()
    found = tied(tmp_path, rows, export, since=day, until=day + timedelta(days=1))
    assert found.select("day", "verdict").rows() == [(day, "matched")]


def test_cents_and_exclusive_buckets(tmp_path: Path):
    """The other shape: amounts are cents, the input is what was neither read from a cache nor written to one."""
    said = {"provider": "anthropic", "surface": "messages"} | dict.fromkeys(
        ("request_model", "response_model"), "claude-opus-4-8"
    )
    row = call(**said, cache_read_tokens=300, cache_write_tokens=200, identifiers=[("workspace_id", ["w1"])])
    bucket = {"starting_at": "2026-11-01T00:00:00Z", "ending_at": "2026-11-02T00:00:00Z"}
    result = {"model": "claude-opus-4-8", "workspace_id": "w1"}
    report = {
        "uncached_input_tokens": 500,
        "cache_read_input_tokens": 300,
        "output_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 0},
    }
    amount = {"amount": "0.64", "currency": "USD", "description": "Input"}
    found = tied(
        *(tmp_path, [row]),
        {"data": [{**bucket, "results": [{**result, **report}]}], "has_more": False},
        {"data": [{**bucket, "results": [{**result, **amount}]}], "has_more": False},
    )
    assert found.select("export", "verdict", "ours_usd", "theirs_usd").rows() == [
        ("usage report", "matched", None, None),
        ("cost report", "matched", Decimal("0.0064"), Decimal("0.0064")),
    ]


def test_a_router_s_activity(tmp_path: Path):
    said = {"provider": "openrouter"} | dict.fromkeys(("request_model", "response_model"), "openai/gpt-4.1-mini")
    rows = [call(**said, billed_cost_usd=Decimal("0.0006")) for _ in range(2)]
    item = {"date": "2026-11-01", "model": "openai/gpt-4.1-mini", "model_permaslug": "openai/gpt-4.1-mini"}
    counts = {"requests": 2, "prompt_tokens": 2000, "completion_tokens": 200, "usage": 0.0012}
    assert verdicts(tied(tmp_path, rows, {"data": [{**item, **counts}]})) == [("activity", "matched", None)]
    table = "created_at,cost_total,tokens_prompt,tokens_completion,tokens_cached,model_permaslug\n" + (
        "2026-11-01 23:59:59.5,0.0006,1000,100,0,openai/gpt-4.1-mini\n" * 2
    )
    assert verdicts(tied(tmp_path / "b", rows, table)) == [("activity", "matched", None)]


# --- tables of any kind


def mapped(folder: Path, table: str, *, prices: str = "", **mapping: str) -> pl.DataFrame:
    store = write_store(folder / "store", [call(), call()])
    if prices:
        (store.root / "meta").mkdir(exist_ok=True)
        (store.root / PRICES_FILE).write_text(prices)
    path = folder / "table.csv"
    path.write_text(table)
    with turnledger.open(store.root) as ledger:
        return turnledger.reconcile(ledger, [path], provider="openai", mapping=mapping)[0]


def test_a_table_with_columns_of_its_own(tmp_path: Path):
    table = "\ufeffDate;Model Name;Amount\n2026-11-01;gpt-4.1-mini;$0.00112\n"
    found = mapped(tmp_path, table, day="Date", model="model name", cost="Amount")
    assert verdicts(found) == [("table", "matched", None)]


def test_another_currency_needs_a_rate_of_the_day(tmp_path: Path):
    table = "Date,Amount,Currency\n2026-11-01,0.001,eur\n"
    fields = {"day": "Date", "cost": "Amount", "currency": "Currency"}
    rate = '[[exchange_rate]]\ncurrency = "EUR"\nusd = "1.12"\nfrom = {}\n'
    assert verdicts(mapped(tmp_path / "a", table, prices=rate.format("2026-11-01"), **fields))[0][1] == "matched"
    for prices in ("", rate.format("2026-11-02")):
        with pytest.raises(ExportError, match=r"table\.csv: row 1: cost: in EUR: .*exchange_rate"):
            mapped(tmp_path / f"b{len(prices)}", table, prices=prices, **fields)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("Date,Amount\nyesterday,1\n", "row 1: day: a date such as 2026-11-01 was expected, not 'yesterday'"),
        ("Date,Amount\n2026-11-01,1\n2026-11-01,lots\n", "row 2: cost: an amount was expected, not 'lots'"),
        ("Date,Amount\n2026-11-01,NaN\n", "row 1: cost: an amount was expected, not 'NaN'"),
        ("Date,Amount\n2026-11-01\n", "as many cells in every row"),
        ("Date,Sum\n2026-11-01,1\n", "no column 'Amount'; there are: date, sum"),
        ("Date,Date\n2026-11-01,1\n", "its columns need names, each another"),
        ('Date,Amount\n2026-11-01,"1\n', "neither JSON nor CSV"),
        ("", "its columns need names"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"data": NaN}', "not JSON: NaN is no number"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, table: str, said: str):
    with pytest.raises(ExportError) as caught:
        mapped(tmp_path, table, day="Date", cost="Amount")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_file_of_no_known_kind(tmp_path: Path):
    with pytest.raises(ExportError, match="no export that is known: name its columns with --field"):
        tied(tmp_path, [call()], {"hello": 1})


# --- pages, the command


def command(store: Store, *words: str, status: int = 0) -> list[str]:
    return run("reconcile", *words, "--store", str(store.root), status=status).splitlines()


def test_pages_and_gzip_and_limits(tmp_path: Path):
    store = write_store(tmp_path / "store", [call(), call(1)])
    first, second = tmp_path / "1.json", tmp_path / "2.json.gz"
    first.write_text(json.dumps(page("costs", {0: costs(1)}, has_more=True)))
    second.write_bytes(gzip.compress(json.dumps(page("costs", {1: costs(1)})).encode()))
    book = "priced by genai-prices"
    said = command(store, str(first), "--fail-over", "1%")
    assert said[0] == "warning: openai: costs: not all pages are here: the last file says that there are more"
    assert said[1].startswith(f"1 matched; 0.000560 USD here, 0.000560 USD there, {book}")
    assert command(store, str(first), str(second), "--fail-over", "0%")[0].startswith("2 matched; 0.001120 USD here")
    assert command(store, *map(str, (first, second, second)))[0].startswith("2 matched; 0.001120 USD here")
    second.write_text(json.dumps(page("costs", {1: costs(2)})))
    said = command(store, str(first), str(second), "--fail-over", "30%", status=3)
    assert said[-1] == "over the limit: 0.000560 USD differ, of 0.001680 USD billed 30 % are allowed"
    assert command(store, str(first), str(second), "--fail-over", "34%")[-1].startswith("1 different price, 1 matched")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["gone.json"], 1, "error: gone.json: no such file"),
        (["gone.json", "--provider", "nobody"], 2, "no provider document 'nobody'"),
        (["gone.json", "--within", "much"], 2, "'much' is no share such as 10% or 2.5%"),
        (["gone.json", "--field", "day"], 2, "--field takes name=column"),
        ([], 2, "Missing argument"),
    ],
)
def test_wrong_usage(tmp_path: Path, words: list[str], status: int, said: str):
    store = write_store(tmp_path, [call()])
    assert said in "\n".join(command(store, *words, status=status))


# --- a ledger's own export always ties out

CALLS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from([MINI_DATED, "gpt-4o-2024-08-06"]),
        st.integers(1, 10**6),
        st.integers(0, 10**5),
    ),
    min_size=1,
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12)
@given(made=CALLS, order=st.randoms(use_true_random=False))
def test_a_ledger_s_own_account_ties_out(made: list[tuple[int, str, int, int]], order: Any, tmp_path_factory: Any):
    folder = tmp_path_factory.mktemp("own")
    rows = [
        call(day, request_model=model, response_model=model, input_tokens=read, output_tokens=written)
        for day, model, read, written in made
    ]
    store = write_store(folder / "store", rows)
    with turnledger.open(store.root) as ledger:
        sums = ledger.costs(["day", "model"]).select(
            "day", "model", "calls", "input_tokens", "output_tokens", "cost_usd"
        )
        lines = [",".join(map(str, row)) for row in sums.rows()]
        order.shuffle(lines)
        path = folder / "own.csv"
        path.write_text("\n".join(["day,model,calls,in,out,usd", *lines]))
        fields = {"day": "day", "model": "model", "calls": "calls", "input_tokens": "in", "output_tokens": "out"}
        found, _ = turnledger.reconcile(
            ledger, [path], provider="openai", mapping={**fields, "cost": "usd"}, within=Decimal(0)
        )
    assert set(found["verdict"]) == {"matched"}
    assert found.height == len(lines)
    assert set(found["difference_usd"]) == {Decimal(0)}
