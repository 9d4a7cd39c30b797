"""Costs by keys, the highest first, and budgets: sums that agree, and nothing without a price taken as free."""

from __future__ import annotations

import json
import subprocess
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import turnledger
from commands import COMMAND
from store_rows import NOON, call_row, write_store
from test_outcomes import CUT, sizes
from turnledger.analysis.grouping import COST_KEYS, MEASURES
from turnledger.analysis.limits import amount_usd, is_risen, percent
from turnledger.analysis.pricing.book import book_version

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    import polars as pl

HOSTILE = "\x1b[31mred\n| <script>alert(1)</script> [b]bold[/b] \u202egnp"
CENT = {"input_tokens": 4000, "output_tokens": 0}
"""What costs one cent at 2.50 USD a million tokens."""


def rows() -> list[dict[str, Any]]:
    """Return calls of three conversations that cost 5, 2 and 1 cents, and two that have no cost."""
    said: list[tuple[str, int, dict[str, Any]]] = [
        ("large", 0, {"billed_cost_usd": Decimal("0.04")}),
        ("large", 1, {}),
        ("middle", 2, {}),
        ("middle", 26, {"user_id": "u"}),
        ("small", 50, {"tags": [("calls", "x"), ("team", HOSTILE)]}),
        ("unheard", 51, {"request_model": "unheard-of", "response_model": "unheard-of"}),
        ("partly", 52, {"usage_details": [("beside_widgets", 3)]}),
    ]
    return [
        call_row(
            **CENT, conversation_id=name, conversation_source="app", started_at=NOON + timedelta(hours=hours), **more
        )
        for name, hours, more in said
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store of these calls."""
    return write_store(tmp_path / "store", rows()).root


@pytest.fixture
def run(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``turnledger costs`` on them."""

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, "costs", "--store", folder, *words], capture_output=True, text=True, timeout=60, check=False
        )

    return command


def usd(frame: pl.DataFrame, key: str) -> list[tuple[Any, Decimal | None]]:
    return frame.select(key, "cost_usd").rows()


def test_the_highest_cost_is_first_and_what_has_none_last(folder: Path) -> None:
    with turnledger.open(folder) as ledger:
        frame = ledger.costs("conversation")
    assert usd(frame, "conversation") == [
        ("large", Decimal("0.05")),
        ("middle", Decimal("0.02")),
        ("small", Decimal("0.01")),
        ("partly", None),
        ("unheard", None),
    ]
    assert frame["unpriced_calls"].to_list() == [0, 0, 0, 1, 1]
    assert frame["priced_part_usd"].to_list() == [None, None, None, Decimal("0.01"), None]
    assert frame.select("billed_cost_usd", "computed_cost_usd").row(0) == (Decimal("0.04"), Decimal("0.01"))


def test_every_key_has_the_same_sums(folder: Path) -> None:
    with turnledger.open(folder) as ledger:
        for key in (*COST_KEYS, "tag:team", ["day", "user"]):
            for top in (None, 1, 2, 100):
                frame = ledger.costs(key, top=top)
                assert frame["cost_usd"].sum() == Decimal("0.08"), key
                assert (frame["calls"].sum(), frame["unpriced_calls"].sum()) == (7, 2), key
                assert frame["input_tokens"].sum() == 28_000, key


def test_keys_of_time_turn_and_tag(folder: Path) -> None:
    with turnledger.open(folder) as ledger:
        assert usd(ledger.costs("day"), "day") == [
            (date(2026, 11, 1), Decimal("0.06")),
            (date(2026, 11, 2), Decimal("0.01")),
            (date(2026, 11, 3), Decimal("0.01")),
        ]
        assert usd(ledger.costs("month"), "month") == [("2026-11", Decimal("0.08"))]
        assert ledger.costs("turn").columns[:3] == ["conversation", "turn", "calls"]
        assert usd(ledger.costs("tag:team"), "team")[1] == (HOSTILE, Decimal("0.01"))
        # a tag that is called as a sum is keeps its prefix
        assert usd(ledger.costs("tag:calls"), "tag:calls")[1] == ("x", Decimal("0.01"))


def test_the_last_row_sums_the_others(folder: Path) -> None:
    with turnledger.open(folder) as ledger:
        frame = ledger.costs("conversation", top=1)
        assert frame.select("conversation", "calls", "cost_usd", "unpriced_calls", "other_groups").rows() == [
            ("large", 2, Decimal("0.05"), 0, None),
            (None, 5, Decimal("0.03"), 2, 4),
        ]
        assert ledger.costs("conversation", top=5)["other_groups"].to_list() == [None] * 5
        assert ledger.costs("day", top=1).schema["day"] == ledger.costs("day").schema["day"]


def test_a_period_ends_before_its_end(folder: Path) -> None:
    def calls(**period: datetime) -> int:
        with turnledger.open(folder) as ledger:
            return ledger.costs("conversation", **period)["calls"].sum()

    assert calls(since=NOON + timedelta(hours=1)) == 6
    assert calls(until=NOON + timedelta(hours=1)) == 1
    assert calls(since=NOON + timedelta(hours=1), until=NOON + timedelta(hours=50)) == 3


def test_keys_that_are_none(folder: Path) -> None:
    with turnledger.open(folder) as ledger:
        with pytest.raises(ValueError, match="messages share the cost of a call: turnledger messages"):
            ledger.costs("message")
        with pytest.raises(ValueError, match="name what to group costs by: conversation, turn, "):
            ledger.costs([])
        with pytest.raises(ValueError, match="cannot group costs by 'tag:'"):
            ledger.costs("tag:")
        with pytest.raises(ValueError, match="cannot show the top 0 groups"):
            ledger.costs(top=0)


def test_what_is_estimated_is_said(tmp_path: Path) -> None:
    cut = call_row(**{**CUT, "message_sizes": sizes(), "started_at": NOON})
    write_store(tmp_path / "store", [cut, call_row(**CENT, started_at=NOON)])
    with turnledger.open(tmp_path / "store") as ledger:
        frame = ledger.costs("source")
    estimated = frame["estimated_cost_usd"].sum()
    assert estimated > 0
    assert frame["computed_cost_usd"].sum() == frame["cost_usd"].sum() == estimated + Decimal("0.01")
    done = subprocess.run(
        [COMMAND, "costs", "--store", tmp_path / "store"], capture_output=True, text=True, timeout=60, check=True
    )
    assert f"estimated of it: {estimated:.6f} USD\n" in done.stderr


def test_programs_get_every_column_and_people_the_name_of_the_rest(run: Any) -> None:
    found = json.loads(run("--by", "conversation", "--top", "2", "-f", "json").stdout)
    assert [(row["conversation"], row["other_groups"]) for row in found] == [
        ("large", None),
        ("middle", None),
        (None, 3),
    ]
    assert list(found[0]) == ["conversation", *MEASURES, "other_groups"]
    assert "(others: 3)" in run("--by", "conversation", "--top", "2").stdout
    assert "| (others: 2) |" in run("--by", "day", "--top", "1", "-f", "markdown").stdout


def test_text_from_outside_steers_nothing(run: Any) -> None:
    for form in ("table", "markdown"):
        said = run("--by", "tag:team,model", "-f", form).stdout
        assert "\x1b" not in said
        assert "\u202e" not in said
        assert "red\N{REPLACEMENT CHARACTER}" in said
    assert r"\| \<script\>" in said


@pytest.mark.parametrize(
    ("budget", "status", "said"),
    [
        ("9 cents", 2, "error: Invalid value: '9 cents' is no amount in USD such as 50usd, $50 or 0.5"),
        ("0.08usd", 3, "over the limit: at least 0.090000 USD, 0.080000 USD are allowed"),
        ("$0.09", 0, "not known to be within the limit: at least 0.090000 USD, 0.090000 USD are allowed"),
        ("1e400", 2, "error: Invalid value: '1e400' is no amount"),
    ],
)
def test_a_budget_decides_the_exit_code(run: Any, budget: str, status: int, said: str) -> None:
    done = run("--by", "day", "--fail-over", budget)
    assert (done.returncode, bool(done.stdout)) == (status, status != 2)
    assert done.stderr.splitlines()[-1].startswith(said)


def test_a_budget_of_calls_that_all_have_a_cost(run: Any) -> None:
    before = ("--until", "2026-11-03T13:00", "--fail-over")
    within = run(*before, "0.07")
    assert (within.returncode, within.stderr) == (0, f"calls: 4, cost: 0.070000 USD, priced by {book_version()}\n")
    over = run(*before, "0.069999")
    assert (over.returncode, over.stderr.splitlines()[-1]) == (
        3,
        "over the limit: 0.070000 USD, 0.069999 USD are allowed",
    )


def test_calls_of_unknown_time_are_said_where_a_period_leaves_them_out(tmp_path: Path) -> None:
    write_store(tmp_path, [call_row(**CENT, started_at=None), call_row(**CENT, started_at=NOON)])
    command = [COMMAND, "costs", "--store", tmp_path]
    done = subprocess.run([*command, "--since", "2026-01-01"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == f"calls: 1, cost: 0.010000 USD, priced by {book_version()}\nof unknown time, so left out: 1\n"
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == f"calls: 2, cost: 0.020000 USD, priced by {book_version()}\n"


@pytest.mark.parametrize("text", ["50usd", "50", "$50", " 50.00 USD ", "$ 50"])
def test_amounts(text: str) -> None:
    assert amount_usd(text) == 50


@pytest.mark.parametrize("text", ["", "usd", "50eur", "-1", "$5usd", "1,000", "nan", "\u0665", "5" * 16, "1.", "50%"])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match="is no amount in USD such as 50usd"):
        amount_usd(text)


def test_shares() -> None:
    assert (percent("10%"), percent(" 2.5 %"), percent("0%")) == (10, Decimal("2.5"), 0)
    for text in ("10", "%", "-1%", "ten%"):
        with pytest.raises(ValueError, match="is no share such as 10%"):
            percent(text)


def test_a_rise_is_exact() -> None:
    before, step = Decimal(10**19), Decimal("1e-18")
    assert not is_risen(before, before * 11 / 10, Decimal(10))
    with_step = Decimal("11000000000000000000.000000000000000001")
    assert is_risen(before, with_step, Decimal(10))
    assert is_risen(Decimal(0), step, Decimal(1000))
    assert not is_risen(Decimal(0), Decimal(0), Decimal(0))
