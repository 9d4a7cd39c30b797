"""``turnledger prices``: which price holds for a model, from when, from where; and a newer price book."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import polars as pl
import typer

from ...exporters.store import Store
from ...instrument.documents import load_documents
from ..options import FormatOption, OutputOption, StoreOption, since_moment
from ..output import Format, format_of, write_frame
from ..providers import find_document
from ..shell import opened, say
from .accepting import accept, drifting
from .book import LATEST, Book
from .cards import HOST, TIER, ModelUse, rate_card
from .newer import book_of, update_book
from .overrides import own_prices
from .units import per

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ...instrument.documents import ProviderDocument, Registry
    from ...instrument.price_rules import PriceRule
    from .cards import CardRow

prices_command: Final = typer.Typer()
_SCHEMA: Final = pl.Schema(
    {
        "provider": pl.String(),
        "model": pl.String(),
        "unit": pl.String(),
        "usd": pl.Decimal(24, 12),  # for as many as the unit says
        "valid_from": pl.Datetime("us", "UTC"),  # NULL: as far back as is known
        "valid_to": pl.Datetime("us", "UTC"),  # NULL: until it is known better
        "utc_hours": pl.String(),  # NULL: all day
        "over_input_tokens": pl.Int64(),  # NULL: of any size
        "is_estimate": pl.Boolean(),
        "source": pl.String(),
    }
)


def price_list(
    use: ModelUse,
    *,
    at: datetime | None = None,
    book: Book | None = None,
    own: Sequence[PriceRule] = (),
    registry: Registry | None = None,
) -> pl.DataFrame:
    """Return the prices that calls of one kind are priced by: of the book, the provider's document, the user's own.

    Args:
        use: provider and model, and what else a call says that its price depends on.
        at: only those that hold at this moment; default all there are.
        book: the price book; default the bundled one.
        own: the user's rules.
        registry: provider documents.

    Returns:
        One row per unit and period: ``usd`` is for as many as the unit's ending says.

    Raises:
        ValueError: if there is no price, with the reason.
    """
    card = rate_card(use, registry or load_documents(), book or Book(), own)
    rows = [
        {"provider": use.provider, "model": use.response_model, **row}
        for found in card.rows
        if at is None or found.period.valid_from <= at < found.period.valid_to
        for row in _rows(found)
    ]
    if not rows:
        raise ValueError(f"{use.provider}: {card.reason}")
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def model_use(document: ProviderDocument, model: str, said: Mapping[str, str]) -> ModelUse:
    """Return the use of a model on the provider's first surface, with what a call says beside."""
    surface = next((item.name for item in document.surfaces if item.is_billed), None)
    beside = {name: value for name, value in said.items() if name not in (TIER, HOST)}
    return ModelUse(document.id, surface, model, model, said.get(TIER), said.get(HOST), tuple(sorted(beside.items())))


def _rows(found: CardRow) -> Iterator[dict[str, Any]]:
    period = found.period
    all_day = (period.day_second_from, period.day_second_to) == (0, 86_400)
    hours = None if all_day else f"{_clock(period.day_second_from)}-{_clock(period.day_second_to)}"
    for unit, usd in found.prices.items():
        yield {
            "unit": unit,
            "usd": usd * per(unit),
            "valid_from": period.valid_from if period.valid_from.year > 1970 else None,  # noqa: PLR2004  the first there is
            "valid_to": period.valid_to if period.valid_to < LATEST else None,
            "utc_hours": hours,
            "over_input_tokens": period.over_input_tokens if period.over_input_tokens >= 0 else None,
            "is_estimate": found.is_estimate,
            "source": found.sources[unit],
        }


def _clock(second: int) -> str:
    return f"{second // 3600:02d}:{second // 60 % 60:02d}"


@prices_command.command()
def prices(
    model: Annotated[str | None, typer.Argument(help="A model's name, as responses say it.")] = None,
    provider: Annotated[
        str | None, typer.Option(help="Whose price: a provider's id, name or host. [default: all that have one]")
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="What held then: a date, or an age such as 30d. [default: what holds now]")
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="All that ever held, not what holds at one moment.")
    ] = False,
    said: Annotated[
        list[str] | None, typer.Option("--when", help="What a call says beside: service_tier=flex, host=...")
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Take the newest price book into the store.")] = False,
    effective: Annotated[
        bool,
        typer.Option(
            "--effective", help="What bills say the prices are, beside the list; of all models if none is named."
        ),
    ] = False,
    take: Annotated[
        bool,
        typer.Option("--accept", help="Take what bills say over into prices.toml, where it is not what the list says."),
    ] = False,
    store: StoreOption = None,
    form: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Show which prices hold for a model, since when and from where; what bills say; or take a newer price book.

    Example: turnledger prices MODEL --provider acme --when service_tier=flex --at 2026-01-01
    """
    place = Store.at(store)
    if effective or take:
        _effective(store, model, provider, format_of(form, output), output, take=take)
        return
    if update:
        done = update_book(place)
        say(f"price book: {done.version} ({done.models} models) in {done.path}")
    if model is None:
        if not update:
            raise typer.BadParameter("name a model, or --update")
        return
    pairs = [text.partition("=") for text in said or ()]
    if any(not (name and value) for name, _, value in pairs):
        raise typer.BadParameter("--when takes name=value, such as service_tier=flex")
    registry, moment = load_documents(), None if history else since_moment(at) or datetime.now(UTC)
    conditions = {name: value for name, _, value in pairs}
    book, own = book_of(place), own_prices(place).rules
    ids = [_document(registry, provider).id] if provider else list(registry.documents)
    frames: list[pl.DataFrame] = []
    reasons: list[str] = []
    for name in ids:
        try:
            use = model_use(registry.documents[name], model, conditions)
            frames.append(price_list(use, at=moment, book=book, own=own, registry=registry))
        except ValueError as error:
            reasons.append(str(error))
    if not frames:
        raise ValueError(reasons[0] if len(reasons) == 1 else f"no provider has a price for {model!r}")
    write_frame(pl.concat(frames), format_of(form, output), output)
    say(f"by {book.version}" + (f", at {moment:%Y-%m-%d %H:%M} UTC" if moment else ""))


def _document(registry: Registry, provider: str) -> ProviderDocument:
    try:
        return find_document(registry, provider)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _effective(
    store: str | None, model: str | None, provider: str | None, form: Format, output: Path | None, *, take: bool
) -> None:
    """Print what bills say of prices, or take it over."""
    with opened(store) as ledger:
        found = ledger.sql(
            "select * from effective_prices where coalesce(model = $model, $model is null)"
            " and coalesce(provider = $provider, $provider is null)"
            " order by calls desc, provider, model, upstream_provider, service_tier, unit",
            {"model": model, "provider": provider and _document(load_documents(), provider).id},
        )
    if not found.height:
        raise ValueError(f"no call{f' of {model}' if model else ''} in {ledger.store.location} says what it cost")
    if not take:
        write_frame(found, form, output)
        off = drifting(found)["effective_usd"].count()
        say(
            f"prices that bills do not bear out: {off} of {found.height}"
            + (" (--accept takes them over)" if off else "")
        )
        return
    done = accept(ledger.store, found)
    say(f"accepted: {done.tables} [[price]] tables in {done.path}" if done.tables else "nothing to accept")
    if done.left:
        say(f"not to be told from the bills there are: {done.left} kinds of call")
