"""The price book as relations: which price holds when, and which entry of the book a call's model is.

Prices are those of ``genai-prices`` (https://github.com/pydantic/genai-prices), dated and bundled. The book decides
itself which of its prices is valid: every moment at which that can change is looked up, and what the book answers for
the time between two of them becomes a row. The SQL models join these rows by interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import polars as pl
from genai_prices.data_snapshot import get_snapshot
from genai_prices.data_units import unit_data
from genai_prices.types import (
    ModelInfo,
    ModelPrice,
    PriceVariant,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..instrument.documents import Registry

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9999, 12, 31, tzinfo=UTC)
"""Bounds of open periods: finite, so that one interval join serves every row."""
_DAY_S: Final = 86_400
_ANY_SIZE: Final = (1 << 63) - 1
_SCALE: Final = Decimal("1e-18")
_TIER_KEYS: Final = ("service_tier", "processing", "speed")
"""The keys under which the book's variants name what a provider reports as the tier of a call."""

_TIME: Final = pl.Datetime("us", "UTC")
PRICE_SCHEMA: Final = pl.Schema(
    {
        "price_provider": pl.String,
        "book_model": pl.String,
        "unit": pl.String,  # the book's price key, such as input_mtok
        "usd_per_unit": pl.Decimal(20, 18),  # per single token, request, second ...
        "service_tier": pl.String,  # NULL: standard
        "over_input_tokens": pl.Int64,  # holds for over < input_tokens <= up_to
        "up_to_input_tokens": pl.Int64,
        "valid_from": _TIME,  # half open, as the seconds of the UTC day are
        "valid_to": _TIME,
        "day_second_from": pl.Int64,
        "day_second_to": pl.Int64,
        "source": pl.String,
    }
)
MATCH_SCHEMA: Final = pl.Schema(
    dict.fromkeys(
        (
            *("provider", "surface", "request_model", "response_model", "service_tier"),  # as the call reported them
            *("price_provider", "book_model", "price_tier", "unmatched_reason"),  # price_tier NULL: standard
        ),
        pl.String(),
    )
)


@dataclass(frozen=True, slots=True)
class ModelUse:
    """What was called: the distinct combinations in a store for which a price is looked up."""

    provider: str | None
    surface: str | None
    request_model: str | None
    response_model: str | None
    service_tier: str | None


@cache
def book_version() -> str:
    """Return the name and version of the price book."""
    return f"genai-prices {version('genai-prices')}"


def price_book() -> pl.DataFrame:
    """Return the whole price book: one row per model, unit, tier, period, time of day and input size."""
    rows = [
        row
        for provider in get_snapshot().providers
        for model in provider.models
        for row in price_rows(provider.id, model)
    ]
    return pl.DataFrame(rows, schema=PRICE_SCHEMA, orient="row")


def price_matches(uses: Iterable[ModelUse], registry: Registry) -> pl.DataFrame:
    """Return for each use the model and tier of the price book it is billed by, or why there is none."""
    return pl.DataFrame([_match(use, registry) for use in uses], schema=MATCH_SCHEMA, orient="row")


def _match(use: ModelUse, registry: Registry) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(use, name) for name in ModelUse.__dataclass_fields__}
    found = _find_model(use, registry)
    if isinstance(found, str):
        return {**row, "unmatched_reason": found}
    provider, model = found
    row |= {"price_provider": provider, "book_model": model.id, "price_tier": None}
    tier = (use.service_tier or "").lower()
    if tier and tier not in _standard_tiers(use, registry):
        known = tier in _tiers(model)
        row["price_tier" if known else "unmatched_reason"] = tier if known else f"no price for service tier {tier}"
    return row


def _find_model(use: ModelUse, registry: Registry) -> tuple[str, ModelInfo] | str:
    """Return the price book's provider and model, or why there is none."""
    # The model that answered is billed, which a router may have chosen itself; the requested one only if none is said.
    document, name = registry.documents.get(use.provider or ""), use.response_model or use.request_model
    if document is None or not name:
        return "model not reported" if document else "provider without a document"
    # Asked for by a plain name and answered with a resource's (models/x): the last part is the plain name. Not so where
    # the request had a path itself: a router's x/y and z/y are two entries of its book.
    plain = "/" in name and use.request_model is not None and "/" not in use.request_model
    names = [name, name.rpartition("/")[2]] if plain else [name]
    for known_as in names:
        try:
            _, model = get_snapshot().find_provider_model(known_as, None, document.price_provider, None)
        except LookupError:
            continue
        # One provider's book may refer to another's: the price stands with the model.
        return next(owner.id for owner in get_snapshot().providers if any(own is model for own in owner.models)), model
    return f"not in the price book: {name}"


def _standard_tiers(use: ModelUse, registry: Registry) -> set[str]:
    """Return how the surface calls its standard tier: the first of the tiers its document lists."""
    document = registry.documents[use.provider or ""]
    tiers: list[list[str]] = [
        s.facts["tiers"] for s in document.surfaces if s.name == use.surface and s.facts.get("tiers")
    ]
    return {tiers[0][0].lower()} if tiers else set()


def _tiers(model: ModelInfo) -> dict[str, list[PriceVariant]]:
    """Return the tiers the book knows of a model, by their lower-case names."""
    found: dict[str, list[PriceVariant]] = {}
    for variant in model.price_variants or ():
        if len(variant.when) == 1 and not variant.when.keys().isdisjoint(_TIER_KEYS):
            found.setdefault(next(iter(variant.when.values())).lower(), []).append(variant)
    return found


def _holds(variant: PriceVariant, moment: datetime) -> bool:
    return variant.constraint is None or variant.constraint.active(moment)


def price_rows(price_provider: str, model: ModelInfo) -> Iterator[dict[str, Any]]:
    """Yield every price of a model: one row per unit, tier, period, time of day and input size."""
    tiers: dict[str | None, list[PriceVariant]] = {None: [], **_tiers(model)}
    seconds, moments = _breakpoints(model)
    for tier, variants in tiers.items():
        for valid_from, valid_to in pairwise(moments):
            for second_from, second_to in pairwise(seconds):
                moment = valid_from + timedelta(seconds=second_from)
                valid = [variant for variant in variants if _holds(variant, moment)]
                if tier and not valid:
                    continue
                prices = model.get_prices(moment, valid[0].when if valid else None)
                for unit, over, up_to, usd in _unit_prices(prices):
                    yield {
                        "price_provider": price_provider,
                        "book_model": model.id,
                        "unit": unit,
                        "usd_per_unit": usd,
                        "service_tier": tier,
                        "over_input_tokens": over,
                        "up_to_input_tokens": up_to,
                        "valid_from": valid_from,
                        "valid_to": valid_to,
                        "day_second_from": second_from,
                        "day_second_to": second_to,
                        "source": book_version(),
                    }


def _breakpoints(model: ModelInfo) -> tuple[list[int], list[datetime]]:
    """Return the seconds of the day and the moments at which the book's answer for a model can change."""
    conditional = model.prices if isinstance(model.prices, list) else []
    constraints = [item.constraint for item in (*conditional, *(model.price_variants or ()))]
    seconds, moments = {0, _DAY_S}, {EARLIEST, LATEST}
    for constraint in constraints:
        if isinstance(constraint, StartDateConstraint):
            moments.add(datetime.combine(constraint.start_date, time(), UTC))
        elif isinstance(constraint, TimeOfDateConstraint):
            seconds |= {_second_of_day(constraint.start_time), _second_of_day(constraint.end_time)}
    return sorted(seconds), sorted(moments)


def _second_of_day(moment: time) -> int:
    # The book reads a time without a zone as UTC.
    whole = datetime.combine(date(2000, 1, 1), moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    return whole.hour * 3600 + whole.minute * 60 + whole.second


def _unit_prices(prices: ModelPrice) -> Iterator[tuple[str, int, int, Decimal]]:
    """Yield unit, input size bounds and USD per single unit. A size tier holds for the whole request."""
    found: dict[str, Decimal | TieredPrices] = {
        unit: price for unit, price in vars(prices).items() if price is not None and unit in _PER
    }
    starts = {tier.start for price in found.values() if isinstance(price, TieredPrices) for tier in price.tiers}
    for over, up_to in pairwise([-1, *sorted(starts), _ANY_SIZE]):
        for unit, price in found.items():
            yield unit, over, up_to, _per_single(_at_size(price, over), _PER[unit])


def _at_size(price: Decimal | TieredPrices, over: int) -> Decimal:
    if isinstance(price, Decimal):
        return price
    reached = [tier.price for tier in price.tiers if tier.start <= over]
    return reached[-1] if reached else price.base


def _per_single(price: Decimal, per: int) -> Decimal:
    """Return the price of one unit to 18 decimals: finer digits in the book are residue of its float arithmetic."""
    return (price / per).quantize(_SCALE)


_PER: Final[dict[str, int]] = {unit["price_key"]: unit["per"] for unit in unit_data.values()}
