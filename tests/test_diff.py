"""Two sides compared: how a side is written, what is said of it, and what the command makes of a limit."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import turnledger
from commands import COMMAND
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_rows import NOON, call_row, write_store
from turnledger.analysis.ledger import StoreError
from turnledger.analysis.pricing.book import book_version
from turnledger.analysis.sides import Side, parse_side

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl

NOW = datetime(2026, 11, 10, tzinfo=UTC)
HOSTILE = "\x1b[31mred\n| <script>alert(1)</script> [b]bold[/b] \u202egnp"
CENT = {"input_tokens": 4000, "output_tokens": 0}
"""What costs one cent at 2.50 USD a million tokens."""
CHEAP = {"request_model": "gpt-4o-mini", "response_model": "gpt-4o-mini-2024-07-18"}
UNHEARD = {"request_model": "unheard-of", "response_model": "unheard-of"}


def day(number: int, month: int = 11) -> datetime:
    return datetime(2026, month, number, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("2026-11-01", Side("", None, day(1), day(2))),
        ("2026-11", Side("", None, day(1), day(1, 12))),
        ("2026-12", Side("", None, day(1, 12), datetime(2027, 1, 1, tzinfo=UTC))),
        ("2026-11-01..2026-11-08", Side("", None, day(1), day(8))),
        ("2026-11-01T12:00+02:00..", Side("", None, datetime(2026, 11, 1, 10, tzinfo=UTC), None)),
        ("..2026-11-08", Side("", None, None, day(8))),
        ("7d", Side("", None, day(3), NOW)),
        ("8d..7d", Side("", None, day(2), day(3))),
        ("999999w", Side("", None, datetime(1, 1, 1, tzinfo=UTC), NOW)),
        ("release=v2", Side("", chosen=(("tag:release", "v2"),))),
        ("tag:model=v2", Side("", chosen=(("tag:model", "v2"),))),
        ("model=a/b..c, user = u=1", Side("", chosen=(("model", "a/b..c"), ("user", "u=1")))),
        ("release=a\\,b", Side("", chosen=(("tag:release", "a,b"),))),
        ("release=", Side("", chosen=(("tag:release", ""),))),
        ("../ledger", Side("", "../ledger")),
        ("..", Side("", "..")),
        ("s3://bucket/a?region=x,7d", Side("", "s3://bucket/a?region=x", day(3), NOW)),
        ("./ledger,2026-11-01,release=v2", Side("", "./ledger", day(1), day(2), (("tag:release", "v2"),))),
    ],
)
def test_sides(text: str, side: Side) -> None:
    found = parse_side(text, NOW)
    assert found.said == text
    assert (found.store, found.since, found.until, found.chosen) == (side.store, side.since, side.until, side.chosen)


def test_a_folder_that_is_there_is_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ledger").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_side("ledger").store == "ledger"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'': a side is a period"),
        ("a=1,,b=2", "a side is a period"),
        ("ledger", "'ledger' is none of what a side is made of: a period"),
        ("=v=2", "'=v=2' is none of what a side is made of"),
        ("=v2", "'=v2' is none of what a side is made of"),
        ("2026-13", "'2026-13' is no day or month that there is"),
        ("2026-02-30", "'2026-02-30' is no day or month"),
        ("9999-12-31", "'9999-12-31' is no day or month"),
        ("9999-12", "'9999-12' is no day or month"),
        ("2026-11-08..2026-11-01", "'2026-11-08..2026-11-01' ends before it begins"),
        ("yesterday..today", "'yesterday' is neither an age such as 7d nor a date"),
        ("7d,8d", "a side has one store and one period"),
        ("./a,./b", "a side has one store and one period"),
        ("model=a,model=b", "model is there twice"),
    ],
)
def test_what_is_no_side(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, StoreError), match=said):
        turnledger.diff(text, "7d", store=write_store(tmp_path / "store", []).root)


def rows() -> list[dict[str, Any]]:
    """Return a run of four calls, and one of eight: more calls, other tokens, another model, another place."""

    def tagged(release: str, observation: str | None, hours: int, **more: Any) -> dict[str, Any]:
        at = NOON + timedelta(hours=hours)
        said = {"tags": [("release", release)], "observation": observation, "started_at": at, **CENT, **more}
        return call_row(**said, conversation_source="app", conversation_id=f"{release}-{hours // 2}")

    before = [tagged("v1", "checkout", hours) for hours in range(4)]
    again = [tagged("v2", "checkout", 24 + hours) for hours in range(4)]
    more = [
        tagged("v2", "checkout", 28, input_tokens=8000),
        tagged("v2", HOSTILE, 29),
        tagged("v2", HOSTILE, 30, error_type="overloaded", status_code=529, input_tokens=None, output_tokens=None),
        tagged("v2", "checkout", 31, cache_read_tokens=4000),
    ]
    return [*before, *again, *more]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store of these calls."""
    return write_store(tmp_path / "store", rows()).root


@pytest.fixture
def run(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``turnledger diff`` on them."""

    def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, "diff", "--store", folder, *words], capture_output=True, text=True, timeout=60, check=False
        )

    return command


def split_of(found: turnledger.Comparison) -> dict[str, Decimal]:
    return {part: usd for part, usd in found.split.rows() if usd}


def test_two_runs_are_compared(folder: Path) -> None:
    found = turnledger.diff("release=v1", "release=v2", store=folder)
    a, b = found.totals.rows(named=True)
    assert (a["side"], a["calls"], a["conversations"], a["input_tokens"], a["cost_usd"]) == (
        *("release=v1", 4, 2, 16_000),
        Decimal("0.04"),
    )
    assert (b["calls"], b["conversations"], b["failed_calls"], b["unpriced_calls"]) == (8, 4, 1, 0)
    assert (b["cost_usd"], b["cost_per_call_usd"]) == (Decimal("0.075"), Decimal("0.010714285714285714"))
    assert (a["cache_share"], b["cache_share"]) == (None, 4000 / 32_000)
    assert (a["duration_ms_median"], b["duration_ms_p95"], b["first_chunk_ms_p95"]) == (2000, 2000, None)
    # checkout: 6 calls for 4, one of them twice as long, one cached at half the price; the other place is new
    assert split_of(found) == {
        "volume": Decimal("0.02"),
        "tokens": Decimal("0.01"),
        "price": Decimal("-0.005"),
        "new": Decimal("0.01"),
    }
    groups = found.groups.select("observation", "status", "calls_a", "calls_b", "change_usd").rows()
    assert groups == [
        ("checkout", "both", 4, 6, Decimal("0.025")),
        (HOSTILE, "new", 0, 2, Decimal("0.01")),
    ]
    assert found.is_certain
    assert found.notes == ()


def test_groups_are_matched_by_any_keys(folder: Path) -> None:
    found = turnledger.diff("release=v1", "release=v2", by=["tag:release", "day"], store=folder)
    assert found.groups.select("release", "day", "status").rows() == [
        ("v2", day(2).date(), "new"),
        ("v1", day(1).date(), "gone"),
    ]
    assert split_of(found) == {"new": Decimal("0.075"), "gone": Decimal("-0.04")}
    with pytest.raises(ValueError, match="cannot group costs by 'nothing'"):
        turnledger.diff("release=v1", "release=v2", by="nothing", store=folder)


def test_without_observations_groups_are_models(tmp_path: Path) -> None:
    calls = [call_row(**CENT, tags=[("run", "1")]), call_row(**CENT, **CHEAP, tags=[("run", "2")])]
    found = turnledger.diff("run=1", "run=2", store=write_store(tmp_path, calls).root)
    assert found.groups.select("model", "status").rows() == [
        ("gpt-4o-2024-08-06", "gone"),
        ("gpt-4o-mini-2024-07-18", "new"),
    ]
    assert found.models.select("calls_a", "calls_b", "cost_share_a", "cost_share_b").rows() == [
        (1, 0, 1.0, None),
        (0, 1, None, 1.0),
    ]


def test_a_model_that_took_over_is_named_as_the_reason(tmp_path: Path) -> None:
    same = {**CENT, "observation": "checkout"}
    calls = [call_row(**same, tags=[("run", "1")]), call_row(**same, **CHEAP, tags=[("run", "2")])]
    found = turnledger.diff("run=1", "run=2", store=write_store(tmp_path, calls).root)
    assert split_of(found) == {"models": Decimal("-0.0094")}


def test_what_has_no_price_is_said_and_never_free(tmp_path: Path) -> None:
    calls = [
        call_row(**CENT, tags=[("run", "1")], observation="a"),
        call_row(**CENT, **UNHEARD, tags=[("run", "2")], observation="a"),
        call_row(**CENT, tags=[("run", "2")], observation="b", usage_details=[("beside_widgets", 3)]),
    ]
    found = turnledger.diff("run=1", "run=2", store=write_store(tmp_path / "store", calls).root)
    assert found.notes == ("B: calls without a cost, so the comparison is uncertain: 2 (known of them: 0.010000 USD)",)
    assert not found.is_certain
    assert found.totals["cost_usd"].to_list() == [Decimal("0.01"), None]
    assert found.known_usd == (Decimal("0.01"), Decimal("0.01"))
    assert found.groups.select("observation", "change_usd", "cost_b_usd", "unpriced_calls_b").rows() == [
        ("a", None, None, 1),
        ("b", None, None, 1),
    ]
    assert split_of(found) == {"unpriced": Decimal("-0.01")}
    done = subprocess.run(
        [COMMAND, "diff", "run=1", "run=2", "--store", tmp_path / "store", "--fail-over", "10%"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == (
        "not known to be within the limit: 0.010000 USD before, 0.010000 USD after, a rise of 10% is allowed, "
        "and some calls have no cost\n"
    )
    assert "the comparison is uncertain" in done.stdout


def test_each_store_has_its_own_prices(tmp_path: Path) -> None:
    for name, price in (("a", "1"), ("b", "5")):
        store = write_store(tmp_path / name, [call_row(**CENT, started_at=NOON)])
        (store.root / "meta").mkdir(exist_ok=True)
        (store.root / "meta" / "prices.toml").write_text(
            f'[[price]]\nprovider = "*"\nmodels = ["gpt-4o*"]\ninput_mtok = "{price}"\noutput_mtok = "9"\n'
        )
    found = turnledger.diff(f"{tmp_path}/a,2026-11-01", f"{tmp_path}/b,2026-11-01")
    assert found.totals["cost_usd"].to_list() == [Decimal("0.004"), Decimal("0.02")]
    assert split_of(found) == {"price": Decimal("0.016")}
    assert found.notes == ()


def test_one_store_is_opened_once_and_calls_on_both_sides_are_said(folder: Path) -> None:
    found = turnledger.diff(f"{folder},2026-11-01", f"{folder}/,release=v1")
    assert found.notes == ("calls that are on both sides: 4",)
    with turnledger.open(folder) as ledger:
        assert turnledger.diff("2026-11-01", "release=v2", store=ledger).notes == ()
        assert ledger.costs("day").height == 2  # it is still open


def test_calls_of_unknown_time_are_said_where_a_period_leaves_them_out(tmp_path: Path) -> None:
    calls = [call_row(started_at=NOON), call_row(started_at=NOON + timedelta(days=1)), call_row(started_at=None)]
    found = turnledger.diff("2026-11-01", "..2026-11-08", store=write_store(tmp_path, calls).root)
    assert found.totals["calls"].to_list() == [1, 2]
    assert found.notes == (
        "A: calls of unknown time, so left out: 1",
        "B: calls of unknown time, so left out: 1",
        "calls that are on both sides: 1",
    )


CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "tags": st.sampled_from([[("run", "1")], [("run", "2")]]),
            "observation": st.sampled_from(["a", "b", None]),
            "input_tokens": st.none() | st.integers(0, 10**6),
            "output_tokens": st.none() | st.integers(0, 10**6),
            "cache_read_tokens": st.none() | st.integers(0, 1000),
            "billed_cost_usd": st.none() | st.decimals(min_value=0, max_value=1000, places=10),
            "response_model": st.sampled_from(["gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18", "unheard-of"]),
        }
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CALLS)
def test_groups_and_parts_add_up_to_what_costs_says(tmp_path_factory: Any, said: list[dict[str, Any]]) -> None:
    ends = [call_row(tags=[("run", name)]) for name in "12"]
    store = write_store(tmp_path_factory.mktemp("store"), [*ends, *(call_row(**row) for row in said)])
    with turnledger.open(store.root) as ledger:
        whole = {row["run"]: row for row in ledger.costs("tag:run").rows(named=True)}
        for by in (None, "model", ["observation", "model"], "conversation"):
            found = turnledger.diff("run=1", "run=2", by=by, store=ledger)
            for side, name in (("a", "1"), ("b", "2")):
                assert total(found.groups, f"cost_{side}_usd") == whole[name]["cost_usd"]
                assert total(found.models, f"cost_{side}_usd") == whole[name]["cost_usd"]
                assert found.groups[f"calls_{side}"].sum() == whole[name]["calls"]
                assert found.groups[f"unpriced_calls_{side}"].sum() == whole[name]["unpriced_calls"]
            change = whole["2"]["cost_usd"] - whole["1"]["cost_usd"]
            assert total(found.split, "usd") == change
            assert total(found.groups, "change_usd") + total(found.groups, "unpriced_usd") == change


def total(frame: pl.DataFrame, column: str) -> Decimal:
    return sum(frame[column].drop_nulls(), Decimal(0))


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["release=v1", "release=v2", "--fail-over", "10"], 2, "error: Invalid value: '10' is no share such as 10%"),
        (["release=v1", "nothing"], 2, "error: Invalid value: 'nothing': 'nothing' is none of what a side is made of"),
        (["release=v1", "7d", "--by", "x"], 2, "error: Invalid value: cannot group costs by 'x'"),
        (["release=v1", "release=v9"], 1, "error: no call is on side B, 'release=v9'"),
        (["release=v1", "./nowhere"], 1, "error: no store at "),
        (["release=v1"], 2, "error: Missing argument 'B'"),
    ],
)
def test_mistakes_are_one_plain_line(run: Any, words: list[str], status: int, said: str) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (status, "", 1)
    assert done.stderr.startswith(said)


def test_a_limit_decides_the_exit_code(run: Any) -> None:
    over = run("release=v1", "release=v2", "--fail-over", "87.4%")
    assert over.returncode == 3
    assert over.stderr == "over the limit: 0.040000 USD before, 0.075000 USD after, a rise of 87.4% is allowed\n"
    assert "Why the cost changed" in over.stdout
    within = run("release=v1", "release=v2", "--fail-over", "87.5%")
    assert (within.returncode, within.stderr) == (0, "")
    assert run("release=v2", "release=v1", "--fail-over", "0%").returncode == 0


def test_every_format(run: Any, tmp_path: Path) -> None:
    found = json.loads(run("release=v1", "release=v2", "-f", "json").stdout, parse_float=Decimal)
    assert list(found) == ["totals", "split", "models", "groups", "notes"]
    assert [row["cost_usd"] for row in found["totals"]] == [Decimal("0.04"), Decimal("0.075")]
    groups = list(csv.DictReader(io.StringIO(run("release=v1", "release=v2", "-f", "csv").stdout)))
    assert [row["observation"] for row in groups] == ["checkout", HOSTILE]
    assert run("release=v1", "release=v2", "-o", tmp_path / "diff.md").stdout == ""
    text = (tmp_path / "diff.md").read_text()
    assert text.startswith(
        f"- A: release=v1, priced by {book_version()}\n- B: release=v2, priced by {book_version()}\n\n### Totals\n\n"
        "| measure | A | B | change | change % |\n"
    )
    assert "| cost USD | 0.040000 | 0.075000 | +0.035000 | +87.5 % |\n" in text
    assert "| price | what a token costs: prices, tiers, caching | -0.005000 |\n" in text
    assert all(len(set(map(cells, block.splitlines()))) == 1 for block in text.split("\n\n") if block.startswith("|"))


def cells(line: str) -> int:
    return line.replace(r"\|", "").count("|")


def test_keys_may_be_called_as_figures_are(run: Any) -> None:
    for form in ("table", "markdown", "json", "csv"):
        said = run("release=v1", "release=v2", "--by", "tag:release,tag:calls_a,tag:status,tag:calls A", "-f", form)
        assert (said.returncode, said.stderr) == (0, "")
        assert "tag:calls" in said.stdout
        assert "v2" in said.stdout


def test_what_is_not_shown_is_summed(run: Any) -> None:
    table = run("release=v1", "release=v2", "--by", "conversation", "--top", "1").stdout
    assert "(others: 5)" in table
    assert "-0.040000" not in run("release=v1", "release=v2", "--top", "1").stdout


def test_text_from_outside_steers_nothing(run: Any) -> None:
    for form in ("table", "markdown"):
        said = run("release=v1", f"observation={HOSTILE}", "--by", "observation", "-f", form).stdout
        assert "\x1b" not in said
        assert "\u202e" not in said
        assert "red\N{REPLACEMENT CHARACTER}" in said
    assert r"\| \<script\>" in said
