"""Why a cost changed, in parts: cases worked out by hand, and sums that are exact whatever is compared."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turnledger.analysis.matching import match
from turnledger.analysis.splitting import Parts, Spent, change_of, exact_sum, per, split

PARTS = ("volume_usd", "models_usd", "tokens_usd", "price_usd", "new_usd", "gone_usd", "unpriced_usd")
AMOUNTS = st.decimals(min_value=0, max_value=10**12, places=18)
COUNTS = st.integers(0, 10**12)
KNOWN = st.sampled_from([Decimal(0), Decimal("0.3"), Decimal(7)])
SPENT = st.builds(Spent, st.integers(1, 10**9), AMOUNTS, st.none() | COUNTS, st.none() | COUNTS, KNOWN, KNOWN)
SIDES = st.dictionaries(st.sampled_from(["a", "b", None]), SPENT)


def of(calls: int, usd: str, read: int = 0, answered: int = 0, known: tuple[str, str] = ("0", "0")) -> Spent:
    """Return what calls of one model came to."""
    return Spent(calls, Decimal(usd), read, answered, Decimal(known[0]), Decimal(known[1]))


@pytest.mark.parametrize(
    ("before", "after", "parts"),
    [
        # twice the calls, each as before
        ({"x": of(10, "1", 100, 10)}, {"x": of(20, "2", 200, 20)}, ("1", 0, 0, 0)),
        # twice the tokens a call
        ({"x": of(10, "1", 100, 10)}, {"x": of(10, "2", 200, 20)}, (0, 0, "1", 0)),
        # the same tokens, at twice the price
        ({"x": of(10, "1", 100, 10)}, {"x": of(10, "2", 100, 10)}, (0, 0, 0, "1")),
        # half of the calls moved to a model that costs a tenth
        ({"x": of(10, "1", 100)}, {"x": of(5, "0.5", 50), "y": of(5, "0.05", 50)}, (0, "-0.45", 0, 0)),
        # only what is answered has grown, and that is a quarter of the cost
        ({"x": of(10, "1", 100, 10, ("3", "1"))}, {"x": of(10, "1.25", 100, 20)}, (0, 0, "0.25", 0)),
        # where tokens are not known, what a call costs is what its tokens cost
        ({"x": of(10, "1", 100)}, {"x": Spent(10, Decimal(2), None, None, Decimal(0), Decimal(0))}, (0, 0, 0, "1")),
        # everything at once: 5 more calls at 0.1, 2 more tokens in at 0.01, the rest is the price
        ({"x": of(10, "1", 100)}, {"x": of(15, "2", 180)}, ("0.5", 0, "0.3", "0.2")),
        ({}, {"x": of(1, "2", 1)}, ("2", 0, 0, 0)),
        ({"x": of(1, "2", 1)}, {}, ("-2", 0, 0, 0)),
        ({}, {}, (0, 0, 0, 0)),
    ],
)
def test_worked_out_by_hand(before: Any, after: Any, parts: tuple[Any, ...]) -> None:
    assert split(before, after) == Parts(*map(Decimal, parts))


@given(SIDES, SIDES)
def test_parts_add_up_to_the_change(before: dict[str | None, Spent], after: dict[str | None, Spent]) -> None:
    a, b = (exact_sum(one.usd for one in side.values()) for side in (before, after))
    parts = split(before, after)
    assert exact_sum(parts) == change_of(a, b)
    assert all(part.as_tuple().exponent >= -18 for part in parts)  # type: ignore[operator]  none is infinite


@given(SIDES)
def test_what_is_the_same_has_not_changed(side: dict[str | None, Spent]) -> None:
    assert split(side, side) == Parts()


@given(SIDES, st.integers(2, 1000))
def test_more_of_the_same_is_volume_only(side: dict[str | None, Spent], times: int) -> None:
    with localcontext(prec=100):
        after = {
            model: one._replace(
                calls=one.calls * times,
                usd=one.usd * times,
                input_tokens=None if one.input_tokens is None else one.input_tokens * times,
                output_tokens=None if one.output_tokens is None else one.output_tokens * times,
            )
            for model, one in side.items()
        }
        volume = exact_sum(one.usd for one in side.values()) * (times - 1)
    assert split(side, after) == Parts(volume=volume)


def leaf(key: str | None, model: str | None, spent: Spent | None, *others: int) -> dict[str, Any]:
    """Return what is known of a group's model: calls with a cost, calls that lack one, and calls that need none."""
    priced = spent.calls if spent else 0
    counts = {"calls": priced + sum(others), "paid_calls": priced, "unpriced_calls": others[0]}
    fields = spent._asdict() if spent else dict.fromkeys(Spent._fields)
    return {"key_0": key, "model": model, "cost_usd": spent and spent.usd} | fields | counts


ROWS = st.lists(
    st.builds(
        leaf,
        st.sampled_from(["x", "y", "", None]),
        st.sampled_from(["a", "b", None]),
        st.none() | SPENT,
        st.integers(0, 2),
        st.integers(0, 2),
    ).filter(lambda row: row["calls"]),
    unique_by=lambda row: (row["key_0"], row["model"]),
    max_size=8,
)


@given(ROWS, ROWS)
def test_groups_add_up_to_the_whole(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    def cost(rows: list[dict[str, Any]]) -> Decimal:
        return exact_sum(row["cost_usd"] for row in rows if row["cost_usd"] is not None)

    groups = match(before, after, 1)
    assert {key for key, _ in groups} == {(row["key_0"],) for row in (*before, *after)}
    figures = [found for _, found in groups]
    assert sum(found["calls_a"] for found in figures) == sum(row["calls"] for row in before)
    assert sum(found["unpriced_calls_b"] for found in figures) == sum(row["unpriced_calls"] for row in after)
    change = change_of(cost(before), cost(after))
    assert exact_sum(found[part] for found in figures for part in PARTS if found[part] is not None) == change
    for found in figures:
        parts = exact_sum(found[part] for part in PARTS[:-1] if found[part] is not None)
        assert found["change_usd"] in (None, parts)
        assert found["change_usd"] is not None or found["unpriced_calls_a"] or found["unpriced_calls_b"]
    largest = [abs(found["change_usd"] or found["unpriced_usd"] or 0) for found in figures]
    assert largest == sorted(largest, reverse=True)


def test_amounts_per_call() -> None:
    assert per(Decimal(1), 3) == Decimal("0.333333333333333333")
    assert per(None, 3) is None
    assert per(Decimal(1), 0) is None
