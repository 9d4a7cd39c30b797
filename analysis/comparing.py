"""Two sides compared: what became of calls, tokens, times and costs, and why the cost changed.

A side is a period, a store, a tagged run or what else ``sides`` reads. What has no price is counted, and never taken as
free: a comparison that it makes uncertain says so.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from ..exporters.store import Store
from .grouping import COST_KEYS, MEASURES, cost_keys, key_columns, keys_selected
from .ledger import Ledger
from .limits import is_risen
from .matching import match
from .output import cell_text
from .sides import Side, parse_side
from .splitting import exact_sum, per, share_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from decimal import Decimal

USD: Final = pl.Decimal(38, 18)
PARTS: Final = ("volume", "models", "tokens", "price", "new", "gone", "unpriced")
"""What a change of cost is made of, in the order it is cut."""

_IS_PAID: Final = "coalesce(cost_usd is not null and cost_source <> 'unbilled', false)"
"""A call that costs nothing, as one that was refused, is no call that a cost is per."""

_GROUP_SCHEMA: Final[Mapping[str, Any]] = {
    "status": pl.String,
    "calls_a": pl.Int64,
    "calls_b": pl.Int64,
    "cost_a_usd": USD,
    "cost_b_usd": USD,
    "change_usd": USD,
    "change_share": pl.Float64,
    **{f"{part}_usd": USD for part in PARTS},
    "unpriced_calls_a": pl.Int64,
    "unpriced_calls_b": pl.Int64,
}
_MODEL_SCHEMA: Final[Mapping[str, Any]] = {
    "model": pl.String,
    "calls_a": pl.Int64,
    "calls_b": pl.Int64,
    "cost_a_usd": USD,
    "cost_b_usd": USD,
    "cost_share_a": pl.Float64,
    "cost_share_b": pl.Float64,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two sides came to, A before B; money is USD.

    Attributes:
        totals: a row for each side: ``side`` (what was asked for), ``priced_by``, counts of calls, conversations,
            failed and unpriced calls, tokens, costs as ``Ledger.costs`` has them, ``cost_per_call_usd`` (of
            ``paid_calls``: those with a cost, without refused ones and others that cost nothing), ``cache_share`` (of
            the input tokens), medians and 95th percentiles of times of calls that did not fail.
        split: why the cost changed: ``part`` and ``usd``; the rows add up exactly to the change.
        models: a row for each model: ``calls_a``, ``calls_b``, costs, and their shares in the side's cost.
        groups: a row for each group, the largest change first: its keys, ``status`` (``both``, ``new``, ``gone``),
            calls and costs on both sides, ``change_usd`` (NULL where all calls of one side are without a cost),
            ``change_share``, its parts, and ``unpriced_calls_a`` and ``_b``.
        notes: what one must know to read it: calls without a cost, left out, or on both sides.
    """

    totals: pl.DataFrame
    split: pl.DataFrame
    models: pl.DataFrame
    groups: pl.DataFrame
    notes: tuple[str, ...]

    @property
    def is_certain(self) -> bool:
        """Whether every call that should have a cost has one."""
        return not self.totals["unpriced_calls"].sum()

    @property
    def known_usd(self) -> tuple[Decimal, Decimal]:
        """What is known of both sides' costs: that of calls, and of those without one the part that has a price."""
        rows = self.totals.select("cost_usd", "priced_part_usd").rows()
        a, b = (exact_sum(amount for amount in row if amount is not None) for row in rows)
        return a, b

    def has_risen(self, by_percent: Decimal) -> bool:
        """Tell whether what is known of the cost has risen by more than so many percent."""
        return is_risen(*self.known_usd, by_percent)


def diff(
    a: str, b: str, *, by: str | Sequence[str] | None = None, store: str | os.PathLike[str] | Ledger | None = None
) -> Comparison:
    """Compare two sides: periods, tagged runs, stores, or what else calls can be chosen by.

    Args:
        a: the side before, such as ``14d..7d``, ``2026-11-01..2026-11-08``, ``release=v1`` or ``./ledger,model=...``;
            the README says what a side is made of.
        b: the side after.
        by: what groups are matched by, as in ``Ledger.costs``; default ``observation`` where calls have one, else
            ``model``.
        store: the store of sides that name none: a folder, an address, or a ledger that is open.

    Raises:
        ValueError: if a side or a key is none, or a side holds no call.
        StoreError: if a store is not there or cannot be read.
    """
    now = datetime.now(UTC)
    sides = parse_side(a, now), parse_side(b, now)
    chosen = None if by is None else cost_keys(by)
    with ExitStack() as stack:
        ledgers = _ledgers(sides, store, stack)
        return _compare(sides, ledgers, chosen)


def _ledgers(
    sides: tuple[Side, Side], store: str | os.PathLike[str] | Ledger | None, stack: ExitStack
) -> tuple[Ledger, Ledger]:
    """Open the ledger of each side; one for both where it is the same."""
    given = store if isinstance(store, Ledger) else None
    opened = {} if given is None else {given.store.address: given}

    def ledger_of(side: Side) -> Ledger:
        if side.store is None and given is not None:
            return given
        place = Store.at(side.store if side.store is not None or isinstance(store, Ledger) else store)
        if place.address not in opened:
            opened[place.address] = stack.enter_context(Ledger(place))
        return opened[place.address]

    return ledger_of(sides[0]), ledger_of(sides[1])


def _compare(sides: tuple[Side, Side], ledgers: tuple[Ledger, Ledger], keys: list[str] | None) -> Comparison:
    both = tuple(zip(sides, ledgers, strict=True))
    totals = pl.concat([_total(side, ledger) for side, ledger in both])
    for name, side, calls in zip("AB", sides, totals["calls"], strict=True):
        if not calls:
            raise ValueError(f"no call is on side {name}, {side.said!r}: see what there is with turnledger costs")
    by = keys or (["observation"] if any(_has_observations(side, ledger) for side, ledger in both) else ["model"])
    frames = [_leaves(side, ledger, by) for side, ledger in both]
    leaves = [frame.rows(named=True) for frame in frames]
    groups = _group_frame(match(leaves[0], leaves[1], len(by)), frames[0], by)
    parts = {part: exact_sum(groups[f"{part}_usd"].drop_nulls()) for part in PARTS}
    return Comparison(
        totals,
        pl.DataFrame({"part": list(parts), "usd": list(parts.values())}, schema={"part": pl.String, "usd": USD}),
        _model_frame(leaves),
        groups,
        tuple(_notes(both, totals)),
    )


def _total(side: Side, ledger: Ledger) -> pl.DataFrame:
    condition, values = side.condition()
    sums = ", ".join(f"try_cast({said} as {kind}) as {name}" for name, (said, kind) in MEASURES.items())
    times = ", ".join(
        f"quantile_cont({column}, {share}) filter (where error_type is null) as {column}_{name}"
        for column in ("duration_ms", "first_chunk_ms")
        for name, share in (("median", 0.5), ("p95", 0.95))
    )
    frame = ledger.sql(
        f"""
        select {sums}, count(distinct conversation_id) as conversations,
            count(*) filter (where {_IS_PAID}) as paid_calls,
            count(*) filter (where error_type is not null or status_code >= 400) as failed_calls, {times}
        from call_costs where {condition}
        """,
        values,
    )
    row = frame.row(0, named=True)
    per_call = per(row["cost_usd"], row["paid_calls"])
    read = row["cache_read_tokens"]
    cached = None if read is None else share_of(read, row["input_tokens"])
    return frame.select(
        pl.lit(side.said).alias("side"),
        pl.lit(ledger.priced_by).alias("priced_by"),
        pl.all(),
        pl.Series("cost_per_call_usd", [per_call], USD),
        pl.Series("cache_share", [cached], pl.Float64),
    )


def _has_observations(side: Side, ledger: Ledger) -> bool:
    condition, values = side.condition()
    return bool(ledger.sql(f"select count(observation) > 0 from call_costs where {condition}", values).item())


def _leaves(side: Side, ledger: Ledger, keys: Sequence[str]) -> pl.DataFrame:
    """Return a row for each group and model, with what the split of its cost is made of."""
    condition, values = side.condition()
    return ledger.sql(
        f"""
        with side as (select * from call_costs where {condition}),
        computed as (
            select costs.call_id, sum(read_usd + write_usd + fresh_usd) as input_usd, sum(answer_usd) as output_usd
            from attempt_costs as costs semi join side on costs.call_id = side.call_id
            where costs.computed_cost_usd > 0 group by costs.call_id
        ),
        paid as (select call_id, {_IS_PAID} as is_paid from side)
        select {keys_selected(keys)}, {COST_KEYS["model"]} as model,
            count(*) as calls, count(*) filter (where is_paid) as paid_calls,
            count(unpriced_reason) as unpriced_calls, sum(cost_usd) as cost_usd,
            try_cast(sum(input_tokens) filter (where is_paid) as bigint) as input_tokens,
            try_cast(sum(output_tokens) filter (where is_paid) as bigint) as output_tokens,
            coalesce(sum(input_usd) filter (where is_paid), 0)::decimal(38, 18) as input_usd,
            coalesce(sum(output_usd) filter (where is_paid), 0)::decimal(38, 18) as output_usd
        from side inner join paid using (call_id) left join computed using (call_id)
        group by {", ".join(str(index + 1) for index in range(len(keys) + 1))}
        """,
        values,
    )


def _group_frame(
    found: Iterable[tuple[tuple[Any, ...], dict[str, Any]]], leaves: pl.DataFrame, keys: Sequence[str]
) -> pl.DataFrame:
    names = key_columns(keys, tuple(_GROUP_SCHEMA))
    schema = {name: leaves.schema[f"key_{index}"] for index, name in enumerate(names)}
    rows = [
        (
            *key,
            *(
                share_of(figures["change_usd"], figures["cost_a_usd"])
                if column == "change_share" and figures["change_usd"] is not None
                else figures.get(column)
                for column in _GROUP_SCHEMA
            ),
        )
        for key, figures in found
    ]
    return pl.DataFrame(rows, schema={**schema, **_GROUP_SCHEMA}, orient="row")


def _model_frame(leaves: Sequence[Sequence[Mapping[str, Any]]]) -> pl.DataFrame:
    """Return the mix of models; a model without any cost on a side has none there."""
    rows: dict[str | None, dict[str, Any]] = {}
    for side, found in zip("ab", leaves, strict=True):
        for leaf in found:
            row = rows.setdefault(leaf["model"], {"model": leaf["model"], "calls_a": 0, "calls_b": 0})
            row[f"calls_{side}"] += leaf["calls"]
            if leaf["cost_usd"] is not None:
                row[f"cost_{side}_usd"] = exact_sum((leaf["cost_usd"], row.get(f"cost_{side}_usd", 0)))
    frame = pl.DataFrame(list(rows.values()), schema=_MODEL_SCHEMA)
    shares = [
        (pl.col(f"cost_{side}_usd").cast(pl.Float64) / pl.col(f"cost_{side}_usd").cast(pl.Float64).sum())
        .fill_nan(None)
        .alias(f"cost_share_{side}")
        for side in "ab"
    ]
    dearest = pl.max_horizontal("cost_a_usd", "cost_b_usd")
    return frame.with_columns(shares).sort(dearest, "model", descending=[True, False], nulls_last=True)


def _notes(both: Sequence[tuple[Side, Ledger]], totals: pl.DataFrame) -> Iterable[str]:
    yield from dict.fromkeys(problem for _, ledger in both for problem in ledger.problems)
    for name, (side, ledger), row in zip("AB", both, totals.rows(named=True), strict=True):
        if row["unpriced_calls"]:
            part = row["priced_part_usd"]
            known = f" (known of them: {cell_text(part)} USD)" if part else ""
            yield f"{name}: calls without a cost, so the comparison is uncertain: {row['unpriced_calls']}{known}"
        if row["estimated_cost_usd"]:
            yield f"{name}: {cell_text(row['estimated_cost_usd'])} USD of the cost are estimated"
        if side.has_period and (undated := ledger.sql(_UNDATED).item()):
            yield f"{name}: calls of unknown time, so left out: {undated}"
    (side_a, ledger_a), (side_b, ledger_b) = both
    if ledger_a is ledger_b and (shared := _shared(side_a, side_b, ledger_a)):
        yield f"calls that are on both sides: {shared}"


_UNDATED: Final = "select count(*) from call_costs where started_at is null"


def _shared(a: Side, b: Side, ledger: Ledger) -> int:
    (first, values_a), (second, values_b) = a.condition(), b.condition()
    query = f"select count(*) from call_costs where ({first}) and ({second})"
    found: int = ledger.sql(query, [*values_a, *values_b]).item()
    return found
