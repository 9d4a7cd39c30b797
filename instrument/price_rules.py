"""Price rules: what ``[[price]]`` and ``[[upstream]]`` say, in a provider's document or in the user's own prices."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .frontmatter import Table

UNIT: Final = re.compile(r"[a-z][a-z0-9_]*_(?:mtok|mchars|gpixels|kcount|kpages|hours|count)")
"""What a key that is a price looks like; its ending says for how many units the price is."""
NO_FLOOR: Final = -1
NO_CEILING: Final = (1 << 63) - 1
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9999, 12, 31, tzinfo=UTC)
_MOST: Final = Decimal(90_000)
_MOST_OF_ONE: Final = Decimal(50)
"""Bounds within which any price of a single unit is below 100 USD, and exact in SQL."""
_CURRENCY: Final = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True, slots=True)
class PriceRule:
    """Prices of some models in some circumstances and for some time.

    Attributes:
        where: file and table, for people.
        provider: id of the provider's document; ``*`` is every provider.
        models: patterns of model names in lower case, ``*`` is any text.
        surfaces: names of surfaces; none is every surface.
        when: by condition (``service_tier``, ``host``, a name of ``[surface.billing]``) the values it holds for.
        prices: by unit, such as ``input_mtok``, the amount in ``currency``.
        unpriced: why such calls cannot be priced, where that is what the rule says.
        factor: what token prices are multiplied with; None where the rule states prices only.
        like: by unit, the unit whose price it has.
        valid_from: the moment from which it holds.
        valid_to: the moment from which it no longer does.
        over_input_tokens: it holds for requests with more input than this,
        up_to_input_tokens: and at most this much.
        currency: of ``prices``.
        source: where the fact is from.
        checked: the day it was compared with the source.
        is_own: whether the user has said it, not a document.
    """

    where: str
    provider: str
    models: tuple[str, ...] = ("*",)
    surfaces: tuple[str, ...] = ()
    when: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    prices: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])
    unpriced: str | None = None
    factor: Decimal | None = None
    like: Mapping[str, str] = field(default_factory=dict[str, str])
    valid_from: datetime = _EARLIEST
    valid_to: datetime = _LATEST
    over_input_tokens: int = NO_FLOOR
    up_to_input_tokens: int = NO_CEILING
    currency: str = "USD"
    source: str = ""
    checked: date | None = None
    is_own: bool = False

    @property
    def is_general(self) -> bool:
        """Whether it is what a document says of all models and circumstances: it only fills in what the book lacks."""
        return not (self.is_own or self.when or self.models != ("*",))


def price_rule(table: Table, provider: str | None = None) -> PriceRule:
    """Return the rule of one ``[[price]]`` table.

    Args:
        table: the table; every key of it must be known.
        provider: whose document it stands in; None where the table says it itself.

    Raises:
        DocumentError: naming file, key and what was expected.
    """
    known = _Known(table)
    found = PriceRule(
        where=f"{table.file}: {table.where}",
        provider=provider or table.text("provider"),
        models=tuple(text.lower() for text in table.texts("models", ("*",))),
        surfaces=table.texts("surfaces"),
        when={name: tuple(text.lower() for text in texts) for name, texts in table.mapping("when").items()},
        unpriced=table.text("unpriced", "") or None,
        factor=known.factor(),
        like={unit: texts[0] for unit, texts in table.mapping("like").items()},
        valid_from=known.moment("from", _EARLIEST),
        valid_to=known.moment("until", _LATEST),
        over_input_tokens=known.count("over_input_tokens", NO_FLOOR),
        up_to_input_tokens=known.count("up_to_input_tokens", NO_CEILING),
        currency=table.parsed("currency", _currency, table.text("currency", "USD"), "a currency such as 'EUR'"),
        source=table.text("source", "" if provider is None else None),
        checked=known.day("checked"),
        prices={name: known.amount(name) for name in table.values if UNIT.fullmatch(name)},
        is_own=provider is None,
    )
    _check(table, found)
    table.finish()
    return found


def _check(table: Table, rule: PriceRule) -> None:
    if not (rule.prices or rule.like or rule.factor is not None or rule.unpriced):
        raise table.fail("input_mtok", 'a price such as input_mtok = "2.5", a factor or a discount')
    if rule.valid_from >= rule.valid_to:
        raise table.fail("until", "a day after 'from'")
    if rule.over_input_tokens >= rule.up_to_input_tokens:
        raise table.fail("up_to_input_tokens", "more than over_input_tokens")
    for unit in (*rule.like, *rule.like.values()):
        if not UNIT.fullmatch(unit):
            raise table.fail("like", f"units such as input_mtok, not {unit!r}")
    for unit in (*rule.prices, *rule.like):
        if unit.endswith("_tokens_mtok"):
            raise table.fail(unit, f"{unit.removesuffix('_tokens_mtok')}_mtok: it is a price of tokens already")


class _Known:
    """Typed access to what only price tables have."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def factor(self) -> Decimal | None:
        """Return what prices are multiplied with: a factor, or a discount in per cent."""
        table = self._table
        if "factor" in table.values and "discount" in table.values:
            raise table.fail("discount", "no factor beside it")
        if "factor" in table.values:
            return self.amount("factor")
        if "discount" not in table.values:
            return None
        text = table.text("discount").strip()
        share = self._number("discount", text.removesuffix("%")) if text.endswith("%") else None
        if share is None or share > 100:  # noqa: PLR2004  per cent
            raise table.fail("discount", "per cent in quotes, such as '12%'")
        return 1 - share / 100

    def amount(self, name: str) -> Decimal:
        """Return an exact amount: a whole number, or text."""
        self._table.note(name)
        value = self._table.values[name]
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise self._table.fail(name, "a number in quotes, such as '2.5': it is exact then")
        return self._number(name, str(value))

    def _number(self, name: str, text: str) -> Decimal:
        try:
            number = Decimal(text.strip())
        except InvalidOperation:
            number = Decimal("NaN")
        most = _MOST_OF_ONE if name == "factor" or name.endswith("_count") else _MOST
        if not (number.is_finite() and 0 <= number <= most):
            raise self._table.fail(name, f"a number from 0 to {most}, not {text!r}")
        return number

    def count(self, name: str, default: int) -> int:
        """Return a whole number."""
        self._table.note(name)
        value: Any = self._table.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._table.fail(name, "a whole number")
        return value

    def day(self, name: str) -> date | None:
        """Return a day."""
        self._table.note(name)
        value = self._table.values.get(name)
        if value is not None and (isinstance(value, datetime) or not isinstance(value, date)):
            raise self._table.fail(name, "a day such as 2026-11-01")
        return value

    def moment(self, name: str, default: datetime) -> datetime:
        """Return a moment; a day is its beginning in UTC."""
        self._table.note(name)
        value = self._table.values.get(name, default)
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, date):
            return datetime.combine(value, time(), UTC)
        raise self._table.fail(name, "a day such as 2026-11-01")


def _currency(text: str) -> str:
    if not _CURRENCY.fullmatch(text):
        raise ValueError(f"{text!r} is not three capitals")
    return text


def matches(patterns: tuple[str, ...], name: str) -> bool:
    """Tell whether a name in lower case is of one of the patterns: ``*`` in one is any text."""
    return any(_pattern(pattern).fullmatch(name) for pattern in patterns)


@lru_cache(maxsize=4096)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, text.split("*"))), re.DOTALL)


@dataclass(frozen=True, slots=True)
class Route:
    """Whose prices hold for models that a router serves (``[[upstream]]`` of its document); the first that fits counts.

    Attributes:
        models: patterns of model names in lower case.
        names: the upstreams it is for, as responses say them, in lower case; none is any, also one that is not said.
        price_provider: the provider's id in the price book.
        is_estimate: whether nothing but the model's name says so.
        source: where the fact is from.
    """

    models: tuple[str, ...]
    names: tuple[str, ...]
    price_provider: str
    is_estimate: bool
    source: str


def route(table: Table) -> Route:
    """Return the route of one ``[[upstream]]`` table.

    Raises:
        DocumentError: naming file, key and what was expected.
    """
    table.note("checked")
    found = Route(
        models=tuple(text.lower() for text in table.texts("models", None)),
        names=tuple(text.lower() for text in table.texts("names")),
        price_provider=table.text("price_provider"),
        is_estimate=table.flag("estimate", default=False),
        source=table.text("source"),
    )
    table.finish()
    return found
