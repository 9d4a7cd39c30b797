"""Effective prices: what the bills of calls say, beside the list, and taken over into the user's own prices."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import pytest
import turnledger
from commands import run
from hypothesis import given
from hypothesis import strategies as st
from store_rows import NOON, call_row, write_store
from turnledger.analysis.doctor import examine
from turnledger.analysis.pricing.accepting import accept
from turnledger.analysis.pricing.fitting import Sums, fit
from turnledger.analysis.pricing.overrides import PRICES_FILE, VARIABLE, PricesFileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from turnledger.exporters.store import Store

USAGE = [(1000, 10), (2000, 500), (300, 40), (12, 900), (7000, 70)]


def calls(prices: tuple[str, str], usage: Sequence[tuple[int, int]] = USAGE, **said: Any) -> Iterator[dict[str, Any]]:
    """Yield calls billed at these prices of a million tokens in and out."""
    for number, (read, written) in enumerate(usage):
        bill = (read * Decimal(prices[0]) + written * Decimal(prices[1])) / 1_000_000
        yield call_row(
            provider="openrouter",
            started_at=NOON + timedelta(minutes=number),
            request_model="openai/gpt-4o",
            response_model="openai/gpt-4o",
            input_tokens=read,
            output_tokens=written,
            billed_cost_usd=bill,
            **said,
        )


def effective(store: Store, columns: str = "unit, effective_usd, list_usd, round(drift, 6), method, calls") -> Any:
    """Return what bills say."""
    with turnledger.open(store.root) as ledger:
        return ledger.sql(f"select {columns} from effective_prices order by all").rows()


def sums_of(rows: Sequence[Sequence[int]], bills: Sequence[int]) -> Sums:
    """Return the sums of calls."""
    size = len(rows[0])
    pairs = [(one, other) for one in range(size) for other in range(one, size)]
    products = [sum(row[one] * row[other] for row in rows) for one, other in pairs]
    with_bills = [sum(row[place] * bill for row, bill in zip(rows, bills, strict=True)) for place in range(size)]
    return Sums(len({tuple(row) for row in rows}), sum(bill * bill for bill in bills), products, with_bills)


# --- fitting

COUNTS = st.integers(0, 1_000_000)


@given(
    st.lists(st.integers(1, 10**8), min_size=1, max_size=5).flatmap(
        lambda prices: st.tuples(
            st.just(prices),
            st.lists(st.lists(COUNTS, min_size=len(prices), max_size=len(prices)), min_size=1, max_size=12),
        )
    )
)
def test_exact_bills_give_exact_prices_or_none(made: tuple[list[int], list[list[int]]]):
    prices, rows = made
    found = fit(sums_of(rows, [sum(map(int.__mul__, row, prices)) for row in rows]))
    used = [any(column) for column in zip(*rows, strict=True)]
    if found is None:
        assert len({tuple(row) for row in rows}) <= sum(used) or not any(used) or _is_alike(rows, used)
        return
    assert found.prices == tuple(price if there else None for price, there in zip(prices, used, strict=True))
    assert found.unexplained == 0
    assert found.is_certain(0)


def _is_alike(rows: Sequence[Sequence[int]], used: Sequence[bool]) -> bool:
    """Tell whether the used columns are not independent, by elimination of rows."""
    left = [[Fraction(value) for value, there in zip(row, used, strict=True) if there] for row in rows]
    for column in range(sum(used)):
        pivot = next((row for row in left if row[column]), None)
        if pivot is None:
            return True
        left.remove(pivot)
        shares = [row[column] / pivot[column] for row in left]
        left = [
            [value - share * other for value, other in zip(row, pivot, strict=True)]
            for row, share in zip(left, shares, strict=True)
        ]
    return False


def test_bills_that_no_price_explains_are_not_certain():
    found = fit(sums_of([(1, 0), (1, 1), (2, 1), (3, 5)], [10, 30, 5, 70]))
    assert found is not None
    assert not found.is_certain(0.01)
    assert found.unexplained > 0.1


@given(st.permutations(range(6)))
def test_the_order_of_calls_changes_nothing(order: list[int]):
    rows = list(combinations_with_replacement((1, 5, 9), 2))
    bills = [7 * one + 11 * other + one % 2 for one, other in rows]
    assert fit(sums_of([rows[place] for place in order], [bills[place] for place in order])) == fit(
        sums_of(rows, bills)
    )


# --- of a ledger


def test_an_upstream_that_asks_another_price(tmp_path: Path):
    rows = [
        *calls(("2.5", "10"), billing=[("upstream", "Azure")]),
        *calls(("3", "9"), billing=[("upstream", "Elsewhere")]),
    ]
    assert effective(
        write_store(tmp_path, rows), "upstream_provider, unit, effective_usd, list_usd, round(drift, 6)"
    ) == [
        ("Azure", "input_mtok", Decimal("2.5"), Decimal("2.5"), 0.0),
        ("Azure", "output_mtok", Decimal(10), Decimal(10), 0.0),
        ("Elsewhere", "input_mtok", Decimal(3), Decimal("2.5"), 0.2),
        ("Elsewhere", "output_mtok", Decimal(9), Decimal(10), -0.1),
    ]


def test_cache_reads_are_told_from_fresh_input(tmp_path: Path):
    rows = list(calls(("2.5", "10")))
    for row, read in zip(rows, (0, 1000, 200, 4, 6000), strict=True):
        row["cache_read_tokens"] = read
        row["billed_cost_usd"] -= read * Decimal(2) / 1_000_000
    found = effective(write_store(tmp_path, rows), "unit, effective_usd, list_usd, counted")
    assert found[0] == ("cache_read_mtok", Decimal("0.5"), Decimal("1.25"), 7204)
    assert [row[1] for row in found[1:]] == [Decimal("2.5"), Decimal(10)]


def test_a_single_call_scales_the_list(tmp_path: Path):
    assert effective(write_store(tmp_path, calls(("5", "20"), USAGE[:1]))) == [
        ("input_mtok", Decimal(5), Decimal("2.5"), 1.0, "scaled", 1),
        ("output_mtok", Decimal(20), Decimal(10), 1.0, "scaled", 1),
    ]


def test_a_single_call_without_a_list_price_tells_nothing(tmp_path: Path):
    rows = calls(("5", "20"), USAGE[:1], billing=[("upstream", "X")])
    unknown = [row | {"request_model": "none/such", "response_model": "none/such"} for row in rows]
    store = write_store(tmp_path, unknown)
    assert effective(store) == [("input_mtok", None, None, None, None, 1), ("output_mtok", None, None, None, None, 1)]
    with turnledger.open(store.root) as ledger:
        done = accept(store, ledger.sql("from effective_prices"))
    assert done[:2] == (0, 1)
    assert not (store.root / PRICES_FILE).exists()


def test_calls_with_fees_beside_their_tokens_are_left_out(tmp_path: Path):
    rows = [
        *calls(("2.5", "10")),
        *calls(("90", "90"), usage_details=[("web_plugin_results", 5)]),
        *calls(("90", "90"), usage_details=[("input_audio_tokens", 5)]),
        *calls(("90", "90"), status_code=500, error_type="InternalServerError", finish_reasons=None),
    ]
    found = effective(write_store(tmp_path, rows))
    assert [(row[1], row[5]) for row in found] == [(Decimal("2.5"), 5), (Decimal(10), 5)]


def test_without_bills_there_are_none(tmp_path: Path):
    assert effective(write_store(tmp_path, [call_row()])) == []
    assert "no call in" in run("prices", "--effective", "--store", str(tmp_path), status=1)


# --- taken over


def drifted(folder: Path, **said: Any) -> Store:
    """Return a store whose bills are not as listed."""
    return write_store(folder, calls(("3", "9"), billing=[("upstream", 'Else\nwhere"')], **said))


def misses(store: Store) -> int:
    """Return how many calls are computed at more than a cent of a cent from their bill."""
    with turnledger.open(store.root) as ledger:
        found = ledger.sql("select count(*) from calls where not abs(computed_cost_usd - billed_cost_usd) < 0.000001")
    return found.item()


def test_accepting_makes_computed_costs_the_bills(tmp_path: Path):
    store = drifted(tmp_path)
    path = store.root / PRICES_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text('# ours\n[[price]]\nprovider = "xai"\ndiscount = "5%"\n')
    assert misses(store) == len(USAGE)
    assert "prices that the bills" in run_doctor(store)
    assert run("prices", "--accept", "--store", str(tmp_path)) == f"accepted: 1 [[price]] tables in {path}\n"
    assert path.read_text().startswith('# ours\n[[price]]\nprovider = "xai"\ndiscount = "5%"\n\n[[price]]\n')
    table = tomllib.loads(path.read_text())["price"][1]
    assert table.pop("source") == "bills of 5 calls, 2026-11-01 to 2026-11-01"
    assert table == {
        "provider": "openrouter",
        "models": "openai/gpt-4o",
        "when": {"upstream": 'Else\nwhere"'},
        "from": NOON.date(),
        "input_mtok": "3",
        "output_mtok": "9",
    }
    assert misses(store) == 0
    assert "prices that the bills" not in run_doctor(store)
    assert run("prices", "--accept", "--store", str(tmp_path)) == "nothing to accept\n"


def run_doctor(store: Store) -> str:
    """Return what doctor finds."""
    with turnledger.open(store.root) as ledger:
        return str(examine(ledger)["finding"].to_list())


def test_a_standard_tier_is_accepted_for_itself(tmp_path: Path):
    """What is billed at the plain price still is a condition that a price can have."""
    said = {"provider": "xai", "request_model": "grok-4.3", "response_model": "grok-4.3", "service_tier": "default"}
    store = write_store(tmp_path, [row | said for row in calls(("3", "9"))])
    run("prices", "grok-4.3", "--accept", "--store", str(tmp_path))
    assert tomllib.loads((store.root / PRICES_FILE).read_text())["price"][0]["when"] == {"service_tier": "default"}
    assert misses(store) == 0


def test_what_could_be_a_pattern_is_not_taken_over(tmp_path: Path):
    rows = [row | {"response_model": "*", "request_model": "*"} for row in calls(("3", "9"))]
    said = run("prices", "--accept", "--store", str(write_store(tmp_path, rows).root))
    assert said == "nothing to accept\nnot to be told from the bills there are: 1 kinds of call\n"


def test_a_damaged_file_stays_as_it_is(tmp_path: Path):
    store = drifted(tmp_path)
    with turnledger.open(store.root) as ledger:
        found = ledger.sql("from effective_prices")
    path = store.root / PRICES_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text("[[price]\n")
    with pytest.raises(PricesFileError, match=r"prices\.toml: not TOML"):
        accept(store, found)
    assert path.read_text() == "[[price]\n"


def test_the_file_that_the_environment_names_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store, path = drifted(tmp_path / "store"), tmp_path / "own.toml"
    path.write_text("")
    monkeypatch.setenv(VARIABLE, str(path))
    assert str(path) in run("prices", "--accept", "--store", str(store.root))
    assert misses(store) == 0
    assert sorted(item.name for item in tmp_path.iterdir()) == ["own.toml", "store"]
