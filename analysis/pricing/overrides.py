"""The user's own prices: ``prices.toml``, with contract prices, discounts, own models and other currencies.

Where it is looked for: the file that ``TURNLEDGER_PRICES`` names, else ``meta/prices.toml`` of the store.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ...exporters.store import META
from ...instrument.frontmatter import DocumentError, Table
from ...instrument.price_rules import PriceRule, price_rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from decimal import Decimal

    from ...exporters.store import Store

VARIABLE: Final = "TURNLEDGER_PRICES"
PRICES_FILE: Final = f"{META}/prices.toml"
_USD: Final = "USD"
_MOST_BYTES: Final = 8 << 20


class PricesFileError(ValueError):
    """The user's prices cannot be read; the text says which file and key, and what was expected."""


@dataclass(frozen=True, slots=True)
class OwnPrices:
    """What the user says of prices.

    Attributes:
        rules: the rules, in the order of the file; amounts are in USD.
        rates: the exchange rates; ``usd_count`` is what one of the currency is in USD.
        path: the file; None where there is none.
    """

    rules: tuple[PriceRule, ...] = ()
    rates: tuple[PriceRule, ...] = ()
    path: str | None = None

    def usd(self, currency: str, day: date) -> Decimal | None:
        """Return what one of a currency is in USD on a day; None if the user has not said it."""
        noon = datetime.combine(day, time(12), UTC)
        return next(
            (
                rate.prices["usd_count"]
                for rate in reversed(self.rates)
                if rate.currency == currency and rate.valid_from <= noon < rate.valid_to
            ),
            None,
        )


def own_prices(store: Store) -> OwnPrices:
    """Return the user's prices for a store.

    Raises:
        PricesFileError: if there is a file and it cannot be used.
    """
    path, data = prices_data(store)
    return OwnPrices() if data is None else replace(_parsed(path, data), path=path)


def prices_data(store: Store) -> tuple[str, bytes | None]:
    """Return where the user's prices for a store are, and what is there, None if nothing.

    Raises:
        PricesFileError: if the file cannot be read, or is named and not there.
    """
    named = os.environ.get(VARIABLE, "")
    path = str(Path(named).expanduser()) if named else store.storage.path(PRICES_FILE)
    try:
        if named:
            return path, Path(path).read_bytes()
        with store.storage.open(PRICES_FILE) as file:
            return path, file.read(_MOST_BYTES + 1)
    except FileNotFoundError as error:
        if named:
            raise PricesFileError(f"{path}: no such file; {VARIABLE} names it") from error
        return path, None
    except OSError as error:
        raise PricesFileError(f"{path}: cannot be read: {error}") from error


def parse_prices(file: str, data: bytes) -> tuple[PriceRule, ...]:
    """Return the rules of a file of prices.

    Args:
        file: its name, for errors.
        data: its content: TOML with ``[[price]]`` tables, and ``[[exchange_rate]]`` for amounts that are not in USD.

    Raises:
        PricesFileError: if it is no such file.
    """
    return _parsed(file, data).rules


def _parsed(file: str, data: bytes) -> OwnPrices:
    if len(data) > _MOST_BYTES:
        raise PricesFileError(f"{file}: larger than {_MOST_BYTES >> 20} MiB")
    try:
        table = Table(file, "", tomllib.loads(data.decode("utf-8")))
        rates = [_rate(item) for item in table.tables("exchange_rate")]
        rules = [price_rule(item) for item in table.tables("price")]
        table.finish()
        return OwnPrices(tuple(converted for rule in rules for converted in _in_usd(rule, rates)), tuple(rates))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise PricesFileError(f"{file}: not TOML in UTF-8 ({error})") from error
    except DocumentError as error:
        raise PricesFileError(str(error)) from error


def _rate(table: Table) -> PriceRule:
    """Return an exchange rate: its ``usd_count`` is what one of the currency is in USD, for some time."""
    values = dict(table.values)
    if "usd" not in values or "currency" not in values:
        raise table.fail(
            "usd" if "currency" in values else "currency", "what one is in USD: currency = 'EUR', usd = '1.08'"
        )
    values["usd_count"] = values.pop("usd")
    return price_rule(Table(table.file, table.where, {"provider": "*", **values}))


def _in_usd(rule: PriceRule, rates: Sequence[PriceRule]) -> Iterator[PriceRule]:
    """Yield the rule in USD: once for each time in which one exchange rate holds."""
    if rule.currency == _USD or not rule.prices:
        yield replace(rule, currency=_USD)
        return
    pieces = sorted(_pieces(rule, rates), key=lambda piece: piece.valid_from)
    covered = rule.valid_from
    for piece in pieces:
        if piece.valid_from != covered:
            break
        covered = piece.valid_to
    if covered != rule.valid_to:
        raise DocumentError(
            rule.where.partition(":")[0],
            rule.where.rpartition(" ")[2],
            f"one [[exchange_rate]] of {rule.currency} for all the time from {rule.valid_from:%Y-%m-%d} on",
        )
    yield from pieces


def _pieces(rule: PriceRule, rates: Iterable[PriceRule]) -> Iterator[PriceRule]:
    for rate in rates:
        start, end = max(rule.valid_from, rate.valid_from), min(rule.valid_to, rate.valid_to)
        if rate.currency == rule.currency and start < end:
            usd = rate.prices["usd_count"]
            prices = {unit: amount * usd for unit, amount in rule.prices.items()}
            yield replace(rule, prices=prices, currency=_USD, valid_from=start, valid_to=end)
