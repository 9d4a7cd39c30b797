"""Tying a ledger to exports: each day, model and key on both sides, with a verdict and the likely cause."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import polars as pl

from ...instrument.exports import COUNTS
from .verdicts import MATCHED, Sums, verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import date

    from ..ledger import Ledger
    from .reading import Account, Row

WITHIN: Final = Decimal("0.005")
_DATED: Final = re.compile(r"[-@](?:20\d{2}-?\d{2}-?\d{2})$")
_USD: Final = pl.Decimal(38, 12)
SCHEMA: Final = pl.Schema(
    {
        "day": pl.Date(),  # UTC
        "provider": pl.String(),
        "export": pl.String(),
        "model": pl.String(),  # NULL: all models
        "key": pl.String(),  # NULL: all
        "verdict": pl.String(),
        "cause": pl.String(),
        "ours_usd": _USD,
        "theirs_usd": _USD,
        "difference_usd": _USD,  # ours - theirs
        "difference_share": pl.Float64(),  # of theirs
        "unpriced_calls": pl.Int64(),  # ours, without a cost
        **{f"{side}_{name}": pl.Int64() for name in COUNTS for side in ("ours", "theirs")},
    }
)
_OURS: Final = """
    select
        costs.started_at::date as day,
        coalesce(costs.response_model, costs.request_model) as model,
        {key} as key,
        count(*) filter (where costs.input_tokens is not null or costs.cost_usd > 0) as calls,
        try_cast(sum(costs.input_tokens) as bigint) as input_tokens,
        try_cast(sum(costs.output_tokens) as bigint) as output_tokens,
        try_cast(sum(costs.cache_read_tokens) as bigint) as cache_read_tokens,
        try_cast(sum(costs.cache_write_tokens) as bigint) as cache_write_tokens,
        sum(costs.cost_usd) as cost_usd,
        count(costs.unpriced_reason) as unpriced_calls
    from call_costs as costs{join}
    where costs.provider = $provider and costs.cost_source is distinct from 'billed_elsewhere'
        and costs.started_at::date between $since and $until
    group by all
"""
_MIDNIGHT: Final = "calls around midnight: over all days the two sides agree"
_KEYED: Final = " inner join spans on costs.span_id = spans.span_id"


class _Place(NamedTuple):
    """What is compared: a day, a model and a key, each NULL where the export does not tell them apart."""

    day: date
    model: str | None
    key: str | None


class _Judged(NamedTuple):
    """A place, both sides of it, and what became of them."""

    place: _Place
    ours: Sums
    theirs: Sums
    verdict: str
    cause: str | None


@dataclass(frozen=True, slots=True)
class _Grain:
    """How finely an export tells calls apart."""

    by_model: bool
    by_key: bool

    def place(self, day: date, model: str | None, key: str | None) -> _Place:
        return _Place(day, model if self.by_model else None, key if self.by_key else None)


def tie(
    ledger: Ledger, account: Account, *, since: date | None = None, until: date | None = None, within: Decimal = WITHIN
) -> pl.DataFrame:
    """Return a row for each day, model and key that a provider's exports or the ledger have, days of the exports only.

    Args:
        ledger: the ledger.
        account: what the provider's exports say.
        since: from this day on.
        until: before this day.
        within: the share by which the two may differ.
    """
    frames: list[pl.DataFrame] = []
    for name, rows in account.kinds.items():
        chosen = [row for row in rows if (since is None or row.day >= since) and (until is None or row.day < until)]
        if chosen:
            found = _compare(ledger, account, name, chosen, within)
            frames.append(pl.DataFrame(list(found), schema=SCHEMA, orient="row"))
    return pl.concat(frames) if frames else pl.DataFrame(schema=SCHEMA)


def _compare(ledger: Ledger, account: Account, name: str, rows: Sequence[Row], within: Decimal) -> list[dict[str, Any]]:
    identifier = account.identifiers.get(name)
    here = _ours(ledger, account.provider, identifier, min(row.day for row in rows), max(row.day for row in rows))
    known = bool(identifier) and any(key is not None for _, _, key in here)
    grain = _Grain(any(row.model is not None for row in rows), known and any(row.key is not None for row in rows))
    theirs = _summed((grain.place(row.day, row.model, row.key), Sums(row.counts, row.cost_usd)) for row in rows)
    ours = _summed((grain.place(*place), sums) for place, sums in here.items())
    ours, theirs = _under_one_name(ours, theirs)
    if not any(sums.cost_usd is not None for sums in theirs.values()):
        ours = {place: replace(sums, cost_usd=None) for place, sums in ours.items()}
    judged: list[_Judged] = []
    for place in sorted({*ours, *theirs}, key=lambda place: (place.day, place.model or "", place.key or "")):
        mine, other = ours.get(place, Sums()), theirs.get(place, Sums())
        if not (mine.is_empty and other.is_empty):
            judged.append(_Judged(place, mine, other, *verdict(mine, other, within)))
    return [_line(account.provider, name, row) for row in _with_shifts(judged, within)]


def _ours(ledger: Ledger, provider: str, identifier: str | None, since: date, until: date) -> dict[_Place, Sums]:
    name = (identifier or "").replace("'", "''")
    key, join = (f"spans.identifiers['{name}'][1]", _KEYED) if identifier else ("null::varchar", "")
    found = ledger.sql(_OURS.format(key=key, join=join), {"provider": provider, "since": since, "until": until})
    return {
        _Place(row["day"], row["model"], row["key"]): Sums(
            {count: row[count] for count in COUNTS}, row["cost_usd"], row["unpriced_calls"]
        )
        for row in found.iter_rows(named=True)
    }


def _summed(parts: Iterable[tuple[_Place, Sums]]) -> dict[_Place, Sums]:
    groups: defaultdict[_Place, list[Sums]] = defaultdict(list)
    for place, sums in parts:
        groups[place].append(sums)
    return {place: _added(sums) for place, sums in groups.items()}


def _added(sums: Sequence[Sums]) -> Sums:
    counts = {
        name: sum(said) if (said := [count for item in sums if (count := item.count(name)) is not None]) else None
        for name in COUNTS
    }
    costs = [item.cost_usd for item in sums if item.cost_usd is not None]
    return Sums(counts, sum(costs, Decimal()) if costs else None, sum(item.unpriced_calls for item in sums))


def _under_one_name(
    ours: Mapping[_Place, Sums], theirs: Mapping[_Place, Sums]
) -> tuple[dict[_Place, Sums], dict[_Place, Sums]]:
    """Return both sides with a model's dated and plain names brought together, where only one side has each."""
    common = {place.model for place in ours} & {place.model for place in theirs}

    def renamed(place: _Place) -> _Place:
        name = place.model
        return place if name is None or name in common else place._replace(model=_DATED.sub("", name.lower()))

    return (
        _summed((renamed(place), sums) for place, sums in ours.items()),
        _summed((renamed(place), sums) for place, sums in theirs.items()),
    )


def _with_shifts(judged: Sequence[_Judged], within: Decimal) -> Iterator[_Judged]:
    """Yield the rows; where days differ and their sum does not, they do not begin at the same time: that is said."""
    by_name: defaultdict[tuple[str | None, str | None], list[_Judged]] = defaultdict(list)
    for row in judged:
        by_name[row.place.model, row.place.key].append(row)
    wholes = {
        name: verdict(_added([row.ours for row in rows]), _added([row.theirs for row in rows]), within)[0]
        for name, rows in by_name.items()
        if len(rows) > 1
    }
    for row in judged:
        is_shifted = row.verdict != MATCHED and wholes.get((row.place.model, row.place.key)) == MATCHED
        yield row._replace(cause=_MIDNIGHT) if is_shifted else row


def _line(provider: str, name: str, row: _Judged) -> dict[str, Any]:
    here, there = row.ours.cost_usd, row.theirs.cost_usd
    difference = None if there is None else (here or Decimal()) - there
    sides = (("ours", row.ours), ("theirs", row.theirs))
    return {
        **row.place._asdict(),
        "provider": provider,
        "export": name,
        "verdict": row.verdict,
        "cause": row.cause,
        "ours_usd": here,
        "theirs_usd": there,
        "difference_usd": difference,
        "difference_share": float(difference / there) if difference is not None and there else None,
        "unpriced_calls": row.ours.unpriced_calls,
        **{f"{side}_{count}": sums.count(count) for count in COUNTS for side, sums in sides},
    }


def counted(frame: pl.DataFrame) -> Iterator[str]:
    """Yield in words how many rows have which verdict."""
    for said, number in sorted(frame["verdict"].value_counts().rows()):
        yield f"{number} {said}"
