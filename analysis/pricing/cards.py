"""Rate cards: what one kind of call costs, from the price book, the provider's document and the user's own prices.

The lowest layer is the book: of the upstream that served a routed call, else of the provider. What it lacks follows
from the document's multipliers of caching; over it stand the document's ``[[price]]`` tables, and over these the
user's. What a call says of its tier, region or mode must be met by one of them: a condition that none knows leaves it
without a price.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from ...instrument.caching import multipliers
from ...instrument.price_rules import NO_CEILING, NO_FLOOR, matches
from .book import DAY_S, EARLIEST, LATEST, BookModel, consumed, moment_in, starts
from .units import SCALE, counted, is_tokens, per_single

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from decimal import Decimal

    from ...instrument.documents import ProviderDocument, Registry
    from ...instrument.price_rules import PriceRule
    from .book import Book

TIER: Final = "service_tier"
UPSTREAM: Final = "upstream"
HOST: Final = "host"
_PLAIN: Final = ("input_mtok", "output_mtok")
_NOTHING: Final[Mapping[str, frozenset[str]]] = {}
_MAY_STAND: Final = frozenset({UPSTREAM, HOST})
"""What a call says that no price need know: it only may."""


class ModelUse(NamedTuple):
    """What was called: the distinct combinations in a store for which a price is looked up."""

    provider: str | None
    surface: str | None
    request_model: str | None
    response_model: str | None
    service_tier: str | None
    server_address: str | None
    billing: tuple[tuple[str, str], ...] = ()


class Period(NamedTuple):
    """When and for what size a row of a card holds; half open but for the size (over < input tokens <= up to)."""

    valid_from: datetime
    valid_to: datetime
    day_second_from: int
    day_second_to: int
    over_input_tokens: int
    up_to_input_tokens: int


def periods(moments: Iterable[datetime], seconds: Iterable[int], sizes: Iterable[int]) -> Iterator[Period]:
    """Yield the periods between moments, seconds of the day and input sizes at which prices can change."""
    for valid in pairwise(sorted({EARLIEST, LATEST, *moments})):
        for of_day in pairwise(sorted({0, DAY_S, *seconds})):
            for size in pairwise(sorted({NO_FLOOR, NO_CEILING, *sizes})):
                yield Period(*valid, *of_day, *size)


@dataclass(frozen=True, slots=True)
class CardRow:
    """Prices of one period: USD per single unit, by unit; where each is from; whether some are estimates."""

    period: Period
    prices: Mapping[str, Decimal]
    sources: Mapping[str, str]
    is_estimate: bool


@dataclass(frozen=True, slots=True)
class Card:
    """What calls of one kind cost; ``reason`` says why there is no price where no row holds."""

    use: ModelUse
    reason: str
    rows: tuple[CardRow, ...] = ()
    price_provider: str | None = None
    book_model: str | None = None


def rate_card(use: ModelUse, registry: Registry, book: Book, own: Sequence[PriceRule] = ()) -> Card:
    """Return the card of one kind of call.

    Args:
        use: what was called.
        registry: provider documents.
        book: the price book.
        own: the user's prices, which come before all others; the last that fits counts.
    """
    document = registry.documents.get(use.provider or "")
    name = (use.response_model or use.request_model or "").lower()
    if document is None or not name:
        return Card(use, "model not reported" if document else "provider without a document")
    said = _said(use)
    rules = [rule for rule in (*document.prices, *own) if _fits(rule, use, name, said)]
    if refusal := next((rule.unpriced for rule in reversed(rules) if rule.unpriced is not None), None):
        return Card(use, refusal)
    entries = _entries(use, name, document, book)
    if not entries and not any(rule.prices for rule in rules if rule.models != ("*",)):
        return Card(use, f"not in the price book: {name}")
    builder = _Builder(use, name, document, book.version, entries, rules, _conditions(said, use, document))
    rows = tuple(builder.rows())
    first = entries[0].model if entries else None
    return Card(use, builder.reason, rows, first and first.provider, first.info.id if first else name)


def _said(use: ModelUse) -> dict[str, str]:
    """Return what is said of the call beside its model, in lower case."""
    said = {**dict(use.billing), TIER: use.service_tier or "", HOST: use.server_address or ""}
    return {key: value.lower() for key, value in said.items() if value}


def _conditions(said: Mapping[str, str], use: ModelUse, document: ProviderDocument) -> dict[str, str]:
    """Return what of that a price must know: all but what is billed at the plain price."""
    plain = next((surface.plain for surface in document.surfaces if surface.name == use.surface), _NOTHING)
    return {key: value for key, value in said.items() if value not in plain.get(key, ())}


def _fits(rule: PriceRule, use: ModelUse, name: str, said: Mapping[str, str]) -> bool:
    return (
        rule.provider in ("*", use.provider)
        and (not rule.surfaces or use.surface in rule.surfaces)
        and matches(rule.models, name)
        and all(key in said and matches(values, said[key]) for key, values in rule.when.items())
    )


class _Entry(NamedTuple):
    """An entry of the book that may price a call."""

    model: BookModel
    is_estimate: bool


def _entries(use: ModelUse, name: str, document: ProviderDocument, book: Book) -> list[_Entry]:
    """Return the entries of the book that price a call: units that the first lacks are taken from the next."""
    asked = (use.request_model or "").lower()
    # A router that was asked for a vendor's model (x/y) may answer with the model's own name (y).
    found = _entries_of(use, name, document, book)
    return found or (_entries_of(use, asked, document, book) if asked.endswith(f"/{name}") else [])


def _entries_of(use: ModelUse, name: str, document: ProviderDocument, book: Book) -> list[_Entry]:
    # Asked for by a plain name and answered with a resource's (projects/x/y), or by models/x: the last part is plain.
    # Not so where the request had a path itself: a router's x/y and z/y are two entries of its book.
    last = name.rpartition("/")[2]
    asked_plainly = "/" in name and use.request_model is not None and "/" not in use.request_model
    plain = asked_plainly or name.endswith(f"models/{last}")
    own = book.find(document.price_provider, name) or (book.find(document.price_provider, last) if plain else None)
    upstream = dict(use.billing).get(UPSTREAM, "").lower()
    fitting = (
        route
        for route in document.upstreams
        if matches(route.models, name) and upstream in (route.names or (upstream,))
    )
    route = next(fitting, None)
    routed = route and (book.find(route.price_provider, last) or book.find(route.price_provider, name))
    if route is None or routed is None or not (own is None or route.names or _same_price(own, routed)):
        return [_Entry(own, is_estimate=False)] if own else []
    first = _Entry(routed, route.is_estimate)
    return [first, _Entry(own, is_estimate=False)] if own else [first]


def _same_price(own: BookModel, vendor: BookModel) -> bool:
    """Tell whether a router asks at last what the vendor has asked at some time: it passes the price through then.

    A router sells variants by names that resemble the vendor's; these have prices of their own.
    """
    asked = own.prices(max(own.breakpoints()[1] - {LATEST}), NO_FLOOR)
    took = [vendor.prices(moment, NO_FLOOR) for moment in vendor.breakpoints()[1]]
    return any(all(asked.get(unit) == prices.get(unit) for unit in _PLAIN) for prices in took)


@dataclass(slots=True)
class _Builder:
    """Lays the layers over each other, period by period."""

    use: ModelUse
    name: str
    document: ProviderDocument
    version: str
    entries: Sequence[_Entry]
    rules: Sequence[PriceRule]
    said: Mapping[str, str]
    unmet: set[str] = field(default_factory=set[str])

    @property
    def reason(self) -> str:
        """Why no row holds, where none does."""
        unmet = ", ".join(f"{'service tier' if key == TIER else key} {self.said[key]}" for key in sorted(self.unmet))
        return f"no price for {unmet}" if unmet else f"no price at that time: {self.name}"

    def rows(self) -> Iterator[CardRow]:
        """Yield the rows; where nothing changes at a moment, one row goes on over it."""
        latest: dict[tuple[int, ...], CardRow] = {}
        for period in self._periods():
            row, key = self._row(period), period[2:]
            known = latest.pop(key, None)
            if known and row and known.period.valid_to == period.valid_from and _says_the_same(known, row):
                row = replace(known, period=known.period._replace(valid_to=period.valid_to))
            elif known:
                yield known
            if row:
                latest[key] = row
        yield from latest.values()

    def _periods(self) -> Iterator[Period]:
        seconds, moments, sizes = set[int](), set[datetime](), set[int]()
        for entry in self.entries:
            of_day, of_time = entry.model.breakpoints()
            seconds |= of_day
            moments |= of_time
            sizes |= entry.model.sizes()
        for rule in self.rules:
            moments |= {rule.valid_from, rule.valid_to}
            sizes |= {rule.over_input_tokens, rule.up_to_input_tokens}
        return periods(moments, seconds, sizes)

    def _row(self, period: Period) -> CardRow | None:
        """Return the row of a period, None where a condition of the call is met by no price."""
        prices: dict[str, Decimal] = {}
        sources: dict[str, str] = {}
        by_book, is_estimate = frozenset[str](), False
        for entry in self.entries:
            found, by_variant, guessed = self._of_book(entry.model, period)
            new = {unit: usd for unit, usd in found.items() if unit not in prices}
            is_estimate |= bool(new) and (entry.is_estimate or guessed)
            prices |= new
            sources |= dict.fromkeys(new, self.version)
            by_book = by_variant if entry is self.entries[0] else by_book
        self._add_cached(prices, sources)
        holding = [rule for rule in self.rules if _holds(rule, period)]
        for rule in holding:
            self._apply(rule, prices, sources, by_book)
        unmet = self.said.keys() - _MAY_STAND - by_book - {name for rule in holding for name in rule.when}
        if unmet or not prices:
            self.unmet |= unmet
            return None
        return CardRow(period, prices, sources, is_estimate)

    def _of_book(self, model: BookModel, period: Period) -> tuple[dict[str, Decimal], frozenset[str], bool]:
        """Return an entry's prices, which conditions its variant meets, and whether that variant is dated later.

        The book dates a tier's price from the day it learnt of it. Before, it is taken to have been the same as long as
        the plain price was, and is marked as an estimate.
        """
        moment, over = moment_in(period.valid_from, period.day_second_from), period.over_input_tokens
        plain, variant = model.prices(moment, over), model.variant(self.said, moment)
        if variant is not None:
            return model.prices(moment, over, variant), consumed(variant, self.said) or frozenset(), False
        later = min(model.variants(self.said), key=starts, default=None)
        if later is None or plain != model.prices(starts(later), over):
            return plain, frozenset(), False
        conditions = consumed(later, self.said) or frozenset()
        if any(conditions & rule.when.keys() for rule in self.rules if _holds(rule, period)):
            return plain, frozenset(), False  # the document says it itself
        return model.prices(starts(later), over, later), conditions, True

    def _add_cached(self, prices: dict[str, Decimal], sources: dict[str, str]) -> None:
        """Price cache reads and writes by the document's multipliers, where the book has no price of them."""
        surface = next((item for item in self.document.surfaces if item.name == self.use.surface), None)
        base = prices.get("input_mtok")
        if surface is None or base is None:
            return
        for unit, multiplier in multipliers(surface.facts.get("caching") or {}, self.name.rpartition("/")[2]).items():
            if unit not in prices:
                prices[unit] = (base * multiplier).quantize(SCALE)
                sources[unit] = f"{self.document.id}.md: caching"

    def _apply(
        self, rule: PriceRule, prices: dict[str, Decimal], sources: dict[str, str], by_book: frozenset[str]
    ) -> None:
        if rule.factor is not None and (rule.is_own or not rule.when or rule.when.keys() - by_book):
            # What the book prices for a tier itself is not multiplied for that tier again.
            for unit in [unit for unit in prices if is_tokens(unit)]:
                prices[unit] = (prices[unit] * rule.factor).quantize(SCALE)
                sources[unit] = f"{sources[unit]}, {rule.where}" if rule.factor != 1 else sources[unit]
        stated = {unit: per_single(unit, price) for unit, price in rule.prices.items()}
        if rule.is_general:
            known = {counted(unit) for unit in prices}
            stated = {unit: usd for unit, usd in stated.items() if counted(unit) not in known}
        stated |= {
            unit: usd for unit, other in rule.like.items() if (usd := stated.get(other, prices.get(other))) is not None
        }
        names = {counted(unit) for unit in stated}
        for unit in [unit for unit in prices if counted(unit) in names]:
            del prices[unit], sources[unit]  # the book may call the same thing by another name
        prices |= stated
        sources |= dict.fromkeys(stated, rule.where)


def _says_the_same(one: CardRow, other: CardRow) -> bool:
    return (one.prices, one.sources, one.is_estimate) == (other.prices, other.sources, other.is_estimate)


def _holds(rule: PriceRule, period: Period) -> bool:
    return (
        rule.valid_from <= period.valid_from < rule.valid_to
        and rule.over_input_tokens <= period.over_input_tokens < rule.up_to_input_tokens
    )
