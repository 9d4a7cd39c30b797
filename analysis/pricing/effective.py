"""Effective prices: what a model really costs, by the bills that its calls carry, beside the list price."""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import polars as pl

from .fitting import Sums, fit
from .units import per

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

UNITS: Final = (
    "input_mtok",
    "output_mtok",
    "cache_read_mtok",
    "cache_write_mtok",
    "output_reasoning_mtok",
    "requests_kcount",
)
"""What the sums of ``billed_usage`` count, in their order."""

DRIFT: Final = 0.02
"""How far an effective price may be from the list price before it is reported."""

_CERTAIN: Final = 0.01
_BILL_UNIT: Final = 10**12
_DIGITS: Final = Context(prec=6)
"""Bills are rounded: more digits than these are residue."""

_NAMES: Final = (
    *("provider", "model", "upstream_provider", "service_tier", "price_source", "first_at", "last_at", "calls"),
    *("has_list", "kinds_of_usage", "billed_cost_usd", "square", "products", "with_bills", "counts", "list_usd"),
)
SCHEMA: Final = pl.Schema(
    {
        "provider": pl.String(),
        "model": pl.String(),
        "upstream_provider": pl.String(),
        "service_tier": pl.String(),
        "unit": pl.String(),
        "effective_usd": pl.Decimal(24, 12),  # for as many as the unit says
        "list_usd": pl.Decimal(24, 12),  # what these calls would have paid by the list, on average; NULL: no list price
        "drift": pl.Float64(),  # effective / list - 1
        "method": pl.String(),  # fitted; scaled: list price by the share of it that was billed; NULL: not to be told
        "unexplained": pl.Float64(),  # share of the bills that fitted prices leave open
        "calls": pl.Int64(),
        "counted": pl.Int64(),  # tokens or requests that were billed
        "first_at": pl.Datetime("us", "UTC"),
        "last_at": pl.Datetime("us", "UTC"),
        "list_source": pl.String(),
    }
)


class _Kind(NamedTuple):
    """Calls of one kind, as ``billed_usage`` has them."""

    row: dict[str, Any]
    sums: Sums
    counts: Sequence[int]
    list_usd: Sequence[Decimal | None]

    def list_price(self, bucket: int) -> Fraction | None:
        """Return what one unit of a bucket has cost on average by the list; None where the list has no price."""
        usd = self.list_usd[bucket] if self.row["has_list"] else None
        return None if usd is None or not self.counts[bucket] else Fraction(usd) / self.counts[bucket]


def effective_prices(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Return the prices that explain the bills of a store's calls, one row per kind of call and unit.

    A kind is a provider, model, upstream and service tier at one list price. Prices are fitted by least squares where
    the calls tell each to 1 %; else, where there is a list price, that is scaled to the bills.

    Args:
        connection: a ledger's, with ``billed_usage``.
    """
    found = connection.execute(f"select {', '.join(_NAMES)} from billed_usage order by all").fetchall()
    rows = [row for values in found for row in _rows(_kind(dict(zip(_NAMES, values, strict=True))))]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _kind(row: dict[str, Any]) -> _Kind:
    sums = Sums(row["kinds_of_usage"], int(row["square"]), *(list(map(int, row[name])) for name in _NAMES[12:14]))
    return _Kind(row, sums, list(map(int, row["counts"])), row["list_usd"])


def _rows(kind: _Kind) -> Iterator[dict[str, Any]]:
    prices, method, unexplained = _prices(kind)
    shared = {name: kind.row[name] for name in ("provider", "model", "upstream_provider", "service_tier", "calls")}
    for bucket, unit in enumerate(UNITS):
        if not kind.counts[bucket]:
            continue
        listed, price = kind.list_price(bucket), prices[bucket]
        yield {
            **shared,
            "unit": unit,
            "effective_usd": _usd(price, unit),
            "list_usd": _usd(listed, unit),
            "drift": float(price / listed - 1) if price is not None and listed else None,
            "method": None if price is None else method,
            "unexplained": unexplained,
            "counted": kind.counts[bucket],
            "first_at": kind.row["first_at"],
            "last_at": kind.row["last_at"],
            "list_source": kind.row["price_source"] if listed is not None else None,
        }


def _prices(kind: _Kind) -> tuple[Sequence[Fraction | None], str, float | None]:
    """Return USD per single unit by bucket, how they were found, and how much of the bills they leave open."""
    fitted = fit(kind.sums)
    if fitted is not None and fitted.is_certain(_CERTAIN):
        return [price and price / _BILL_UNIT for price in fitted.prices], "fitted", fitted.unexplained
    listed = [kind.list_price(bucket) for bucket in range(len(UNITS))]
    whole = sum((Fraction(usd or 0) for usd in kind.list_usd), Fraction())
    if not whole or any(count and price is None for count, price in zip(kind.counts, listed, strict=True)):
        return [None] * len(UNITS), "", None
    share = Fraction(kind.row["billed_cost_usd"]) / whole
    return [None if price is None else price * share for price in listed], "scaled", None


def _usd(price: Fraction | None, unit: str) -> Decimal | None:
    if price is None:
        return None
    whole = price * per(unit)
    return _DIGITS.divide(Decimal(whole.numerator), Decimal(whole.denominator))
