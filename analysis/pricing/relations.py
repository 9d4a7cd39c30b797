"""Prices as relations: the book, the rules beside it, and the cards of what a store's calls used."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from .book import Book, moment_in
from .cards import ModelUse, periods, rate_card
from .units import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import duckdb

    from ...instrument.documents import Registry
    from ...instrument.price_rules import PriceRule
    from .book import BookModel

_TIME: Final = pl.Datetime("us", "UTC")
_USD: Final = pl.Decimal(20, 18)
_PERIOD: Final = {
    "over_input_tokens": pl.Int64(),  # holds for over < input_tokens <= up_to
    "up_to_input_tokens": pl.Int64(),
    "valid_from": _TIME,  # half open, as the seconds of the UTC day are
    "valid_to": _TIME,
    "day_second_from": pl.Int64(),
    "day_second_to": pl.Int64(),
}
PRICE_SCHEMA: Final = pl.Schema(
    {
        "price_provider": pl.String(),
        "book_model": pl.String(),
        "unit": pl.String(),  # the book's price key, such as input_mtok
        "usd_per_unit": _USD,  # per single token, request, second ...
        "service_tier": pl.String(),  # NULL: standard
        **_PERIOD,
        "source": pl.String(),
    }
)
MATCH_SCHEMA: Final = pl.Schema(
    {
        **dict.fromkeys(
            ("provider", "surface", "request_model", "response_model", "service_tier", "server_address"), pl.String()
        ),
        "billing": pl.String(),  # as the model `attempt_usage` writes it
        "card": pl.Int64(),
        "price_provider": pl.String(),
        "book_model": pl.String(),
        "unmatched_reason": pl.String(),  # why there is no price where no row of the card holds
    }
)
CARD_SCHEMA: Final = pl.Schema(
    {
        "card": pl.Int64(),
        "unit": pl.String(),
        "counted": pl.String(),  # our name of what the unit counts
        "usd_per_unit": _USD,
        **_PERIOD,
        "source": pl.String(),
        "is_estimate": pl.Boolean(),
    }
)
RULE_SCHEMA: Final = pl.Schema(
    {
        "provider": pl.String(),
        "models": pl.List(pl.String()),
        "conditions": pl.List(pl.String()),
        "unit": pl.String(),
        "amount": pl.Decimal(24, 12),
        "currency": pl.String(),
        "factor": pl.Decimal(24, 12),
        "valid_from": _TIME,
        "valid_to": _TIME,
        "source": pl.String(),
        "checked": pl.Date(),
        "said_in": pl.String(),
    }
)


_USES: Final = """
    select distinct provider, surface, request_model, response_model, service_tier, server_address,
        list_sort(list_transform(map_entries(billing), lambda entry: [entry.key, entry.value])) as billing
    from spans
    where call_id is not null
"""


def price_tables(
    connection: duckdb.DuckDBPyConnection, registry: Registry, book: Book, own: Sequence[PriceRule]
) -> dict[str, pl.DataFrame]:
    """Return the relations of prices that the SQL models build on, by name, for the calls in ``spans``.

    ``prices`` is the whole book, ``price_rules`` what is said beside it, ``card_prices`` what this store's calls cost,
    and ``price_matches`` which card is whose.
    """
    rows = connection.execute(_USES).fetchall()
    uses = [ModelUse._make([*names, tuple((key, value) for key, value in billing or ())]) for *names, billing in rows]
    matched, priced = price_cards(uses, registry, book, own)
    return {
        "prices": price_book(book),
        "price_rules": price_rules(registry, own),
        "price_matches": matched,
        "card_prices": priced,
    }


def price_book(book: Book) -> pl.DataFrame:
    """Return the whole price book: one row per model, unit, tier, period, time of day and input size."""
    return _bundled_book() if book.is_bundled else _book_table(book)


@cache
def _bundled_book() -> pl.DataFrame:
    return _book_table(Book())


def _book_table(book: Book) -> pl.DataFrame:
    rows = [row for model in book.models() for row in _book_rows(model, book.version)]
    return pl.DataFrame(rows, schema=PRICE_SCHEMA, orient="row")


def _book_rows(model: BookModel, source: str) -> Iterator[dict[str, Any]]:
    seconds, moments = model.breakpoints()
    for tier in (None, *model.tiers()):
        for period in periods(moments, seconds, model.sizes()):
            moment = moment_in(period.valid_from, period.day_second_from)
            variant = model.variant({"service_tier": tier}, moment) if tier else None
            if tier and variant is None:
                continue
            for unit, usd in model.prices(moment, period.over_input_tokens, variant).items():
                yield {
                    "price_provider": model.provider,
                    "book_model": model.info.id,
                    "unit": unit,
                    "usd_per_unit": usd,
                    "service_tier": tier,
                    **period._asdict(),
                    "source": source,
                }


def price_cards(
    uses: Iterable[ModelUse], registry: Registry, book: Book, own: Sequence[PriceRule]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return for each use its card or why there is none, and the cards: one row per unit and period."""
    matched: list[dict[str, Any]] = []
    priced: list[dict[str, Any]] = []
    for number, use in enumerate(uses):
        card = rate_card(use, registry, book, own)
        matched.append(
            {
                **{name: getattr(use, name) for name in ModelUse._fields},
                "billing": billing_text(use.billing),
                "card": number if card.rows else None,
                "price_provider": card.price_provider,
                "book_model": card.book_model,
                "unmatched_reason": card.reason,
            }
        )
        priced += [
            {
                "card": number,
                "unit": unit,
                "counted": counted(unit),
                "usd_per_unit": usd,
                **row.period._asdict(),
                "source": row.sources[unit],
                "is_estimate": row.is_estimate,
            }
            for row in card.rows
            for unit, usd in row.prices.items()
        ]
    return (
        pl.DataFrame(matched, schema=MATCH_SCHEMA, orient="row"),
        pl.DataFrame(priced, schema=CARD_SCHEMA, orient="row"),
    )


def billing_text(billing: Iterable[tuple[str, str]]) -> str | None:
    """Return what decides the price, as one text: what ``attempt_usage`` joins by."""
    return "\n".join(f"{name}={value}" for name, value in sorted(billing)) or None


def price_rules(registry: Registry, own: Sequence[PriceRule]) -> pl.DataFrame:
    """Return what documents and the user say of prices beside the book: one row per rule and unit."""
    rules = [rule for document in registry.documents.values() for rule in document.prices]
    rows = [row for rule in (*rules, *own) for row in _rule_rows(rule)]
    return pl.DataFrame(rows, schema=RULE_SCHEMA, orient="row")


def _rule_rows(rule: PriceRule) -> Iterator[dict[str, Any]]:
    shared = {
        "provider": rule.provider,
        "models": list(rule.models),
        "conditions": [f"{name} = {' or '.join(values)}" for name, values in rule.when.items()],
        "currency": rule.currency,
        "factor": rule.factor,
        "valid_from": rule.valid_from,
        "valid_to": rule.valid_to,
        "source": rule.source,
        "checked": rule.checked,
        "said_in": rule.where,
    }
    for unit, amount in rule.prices.items() or [(None, None)]:
        yield {**shared, "unit": unit, "amount": amount}
