"""The price book: which entry of it a model is, and what that costs at any moment, in any tier, at any size.

The book is ``genai-prices`` (https://github.com/pydantic/genai-prices): dated, bundled, and renewed by
``turnledger prices --update``. It decides itself which of its prices is valid; here it is only asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from genai_prices.data_snapshot import DataSnapshot, get_snapshot
from genai_prices.types import (
    ModelInfo,
    ModelPrice,
    PriceVariant,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from .units import per_single

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9999, 12, 31, tzinfo=UTC)
"""Bounds of open periods: finite, so that one interval join serves every row."""
DAY_S: Final = 86_400
TIER_KEYS: Final = ("service_tier", "processing", "speed")
"""The keys under which the book's variants name what a provider reports as the tier of a call."""


@cache
def book_version() -> str:
    """Return the name and version of the bundled price book."""
    return f"genai-prices {version('genai-prices')}"


@dataclass(frozen=True, slots=True, eq=False)
class Book:
    """A price book: the bundled one, or a newer one.

    Attributes:
        snapshot: its data.
        version: what it is called in reports.
    """

    snapshot: DataSnapshot = field(default_factory=get_snapshot)
    version: str = field(default_factory=book_version)

    @property
    def is_bundled(self) -> bool:
        """Whether it is the one that is installed."""
        return self.snapshot is get_snapshot()

    def find(self, provider: str, model: str) -> BookModel | None:
        """Return the book's entry for a model of a provider; one provider's book may refer to another's."""
        by_id = next((item for item in self.snapshot.providers if item.id == provider), None)
        if by_id is None:  # asked by an id alone, the book also guesses
            return None
        try:
            _, found = self.snapshot.find_provider_model(model, by_id, None, None)
        except LookupError:
            return None
        owner = next(owner.id for owner in self.snapshot.providers if any(found is own for own in owner.models))
        return BookModel(owner, found)

    def models(self) -> Iterator[BookModel]:
        """Yield every entry."""
        for provider in self.snapshot.providers:
            for model in provider.models:
                yield BookModel(provider.id, model)


@dataclass(frozen=True, slots=True)
class BookModel:
    """One entry of the book: a provider's model."""

    provider: str
    info: ModelInfo

    def breakpoints(self) -> tuple[set[int], set[datetime]]:
        """Return the seconds of the day and the moments at which the book's answer can change."""
        conditional = self.info.prices if isinstance(self.info.prices, list) else []
        constraints = [item.constraint for item in (*conditional, *(self.info.price_variants or ()))]
        seconds, moments = {0, DAY_S}, {EARLIEST, LATEST}
        for constraint in constraints:
            if isinstance(constraint, StartDateConstraint):
                moments.add(datetime.combine(constraint.start_date, time(), UTC))
            elif isinstance(constraint, TimeOfDateConstraint):
                seconds |= {_second_of_day(constraint.start_time), _second_of_day(constraint.end_time)}
        return seconds, moments

    def sizes(self) -> set[int]:
        """Return the input sizes over which another price holds, for the whole request."""
        conditional = self.info.prices if isinstance(self.info.prices, list) else []
        plain = [self.info.prices] if isinstance(self.info.prices, ModelPrice) else []
        every = [*plain, *(item.prices for item in (*conditional, *(self.info.price_variants or ())))]
        return {
            tier.start
            for price in every
            for _, value in _priced(price)
            if isinstance(value, TieredPrices)
            for tier in value.tiers
        }

    def prices(self, moment: datetime, over: int, variant: PriceVariant | None = None) -> dict[str, Decimal]:
        """Return USD per single unit, by unit, for requests of more input than ``over``."""
        found = self.info.get_prices(moment, variant.when if variant else None)
        return {unit: per_single(unit, _at_size(price, over)) for unit, price in _priced(found)}

    def variant(self, said: Mapping[str, str], moment: datetime) -> PriceVariant | None:
        """Return the variant that holds at a moment for what is said of a call (tier, speed ...), None if none does."""
        return next((item for item in self.variants(said) if holds(item, moment)), None)

    def variants(self, said: Mapping[str, str]) -> list[PriceVariant]:
        """Return the variants, of whatever time, all of whose conditions are said of a call."""
        return [item for item in self.info.price_variants or () if consumed(item, said) is not None]

    def tiers(self) -> list[str]:
        """Return the names of its variants, in lower case, each once."""
        when = [next(iter(item.when.items())) for item in self.info.price_variants or () if len(item.when) == 1]
        return list(dict.fromkeys(name.lower() for key, name in when if key in TIER_KEYS))


def consumed(variant: PriceVariant, said: Mapping[str, str]) -> frozenset[str] | None:
    """Return which of what is said of a call a variant is for; None if it is for other calls."""
    found: set[str] = set()
    for key, value in variant.when.items():
        names = [name for name in (key, "service_tier") if said.get(name, "") == value.lower()]
        if not names or (key not in said and key not in TIER_KEYS):
            return None
        found.add(names[0])
    return frozenset(found)


def holds(variant: PriceVariant, moment: datetime) -> bool:
    """Tell whether a variant is valid at a moment."""
    return variant.constraint is None or variant.constraint.active(moment)


def starts(variant: PriceVariant) -> datetime:
    """Return the moment from which a variant is valid."""
    if isinstance(variant.constraint, StartDateConstraint):
        return datetime.combine(variant.constraint.start_date, time(), UTC)
    return EARLIEST


def moment_in(start: datetime, second: int) -> datetime:
    """Return the moment of a second of the UTC day on which a period begins."""
    return start.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(seconds=second)


def _second_of_day(moment: time) -> int:
    # The book reads a time without a zone as UTC.
    whole = datetime.combine(date(2000, 1, 1), moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    return whole.hour * 3600 + whole.minute * 60 + whole.second


def _priced(price: ModelPrice) -> Iterator[tuple[str, Decimal | TieredPrices]]:
    for unit, value in vars(price).items():
        if isinstance(value, Decimal | TieredPrices):
            yield unit, value


def _at_size(price: Decimal | TieredPrices, over: int) -> Decimal:
    if isinstance(price, Decimal):
        return price
    reached = [tier.price for tier in price.tiers if tier.start <= over]
    return reached[-1] if reached else price.base
