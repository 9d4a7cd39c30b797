"""``turnledger recommend``: the strategy a conversation should follow, by provider documents and what was recorded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import orjson
import polars as pl
import typer
from rich.console import Console
from rich.markdown import Markdown

from ..instrument.documents import load_documents
from ..instrument.recommending import HistoryShape, Recommendation, recommend_for
from .ledger import Ledger, open_ledger
from .options import FormatOption, OutputOption, StoreOption
from .output import Format, format_of, write_frame, write_text

if TYPE_CHECKING:
    import os
    from decimal import Decimal

recommend_command: Final = typer.Typer()


@dataclass(frozen=True, slots=True)
class ConversationAdvice:
    """A recommendation for a recorded conversation.

    Attributes:
        strategy: the strategy it follows, as far as the wire shows it; None is unknown.
        caching: how a prompt cache served it: ``explicit``, ``implicit``, ``absent``; None is unknown.
        cost_usd: what its calls cost; None where one has no price.
        recommendation: what it should follow.
    """

    conversation_id: str
    strategy: str | None
    caching: str | None
    cost_usd: Decimal | None
    recommendation: Recommendation


def recommend(
    conversation: str | None = None,
    *,
    provider: str | None = None,
    surface: str | None = None,
    model: str | None = None,
    history: HistoryShape | None = None,
    store: str | os.PathLike[str] | None = None,
) -> Recommendation:
    """Return the strategy that a conversation should follow, with the reasoning and its sources.

    Args:
        conversation: id of a recorded conversation: its provider, surface, model and length are taken from the ledger.
        provider: a provider document's id, where no conversation is named.
        surface: a surface of it; default is the first that takes messages.
        model: the model asked, where rules differ by model.
        history: what is known of the conversation; ten turns are assumed where nothing is.
        store: the ledger, a folder or an address, for ``conversation``.

    Raises:
        ValueError: if neither is named, or there is no such conversation, provider or surface.
        StoreError: if there is no store or it cannot be read.
    """
    if conversation is not None:
        with open_ledger(store) as ledger:
            return recommend_conversation(ledger, conversation).recommendation
    if provider is None:
        raise ValueError("recommend: name a recorded conversation, or a provider")
    return recommend_for(load_documents(), provider, surface, model, history)


def recommend_conversation(ledger: Ledger, conversation_id: str) -> ConversationAdvice:
    """Return what a recorded conversation should follow, beside what it does.

    Raises:
        ValueError: if the ledger has no such conversation, or its provider has no document any more.
    """
    found = ledger.sql(_SHAPE, {"id": conversation_id}).rows(named=True)
    if not found:
        raise ValueError(f"no conversation {conversation_id!r} with messages in {ledger.store.location}")
    row: dict[str, Any] = found[0]
    shape = HistoryShape(row["turns"], row["input_tokens"], row["longest_gap_s"])
    advice = recommend_for(load_documents(), row["provider"], row["surface"], row["model"], shape)
    return ConversationAdvice(conversation_id, row["strategy"], row["caching"], row["cost_usd"], advice)


_SHAPE: Final = """
    with timed as (
        select *, epoch(started_at - lag(started_at) over (order by place)) as gap_s
        from calls
        where conversation_id = $id and message_count is not null
    )
    select
        arg_max(timed.provider, place) as provider,
        arg_max(timed.surface, place) as surface,
        arg_max(coalesce(response_model, request_model), place) as model,
        max(turn_index) - min(turn_index) + 1 as turns,
        max(timed.input_tokens) as input_tokens,
        max(gap_s) as longest_gap_s,
        any_value(conversations.strategy) as strategy,
        any_value(conversations.caching) as caching,
        if(any_value(conversations.unpriced_calls) = 0, any_value(conversations.cost_usd), null) as cost_usd
    from timed
    inner join conversations using (conversation_id)
    having count(*) > 0
"""


def advice_markdown(advice: Recommendation) -> str:
    """Return a recommendation as Markdown: the strategy, why, all options, sources."""
    about = f"{advice.provider}/{advice.surface}" + (f", {advice.model}" if advice.model else "")
    cache = f", prompt cache {advice.cache}" + (f" ({advice.cache_ttl})" if advice.cache_ttl else "")
    lines = [
        f"# {about}: {advice.strategy}{cache if advice.cache else ''}",
        "",
        advice.reasoning,
        "",
        "| strategy | can be used | input cost | changes in quality | changes in privacy |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {item['strategy']} | {'yes' if item['is_available'] else 'no'} | {item['relative_cost'] or 'unknown'} "
            f"| {item['quality']} | {item['privacy']} |"
            for item in _options(advice)
        ),
        "",
        "Input cost is beside the full history without a cache, by the document's figures: an estimate.",
        "",
        *(f"- {source}" for source in advice.sources),
    ]
    return "\n".join([*lines, *([f"\nChecked {advice.checked}."] if advice.checked else [])]) + "\n"


def _options(advice: Recommendation) -> list[dict[str, Any]]:
    rows = [asdict(option) for option in advice.options]
    for row in rows:
        row["relative_cost"] = None if row["relative_cost"] is None else f"{row['relative_cost']:.2f}"
        row["reasoning"], row["sources"] = " ".join(row["reasoning"]), " ".join(row["sources"])
    return rows


@recommend_command.command("recommend")
def _recommend(
    conversation: Annotated[str | None, typer.Argument(help="A recorded conversation.")] = None,
    provider: Annotated[str | None, typer.Option(help="A provider's id, where no conversation is named.")] = None,
    surface: Annotated[str | None, typer.Option(help="One of its surfaces. [default: the first with messages]")] = None,
    model: Annotated[str | None, typer.Option(help="The model asked, where rules differ by model.")] = None,
    store: StoreOption = None,
    form: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Say which strategy a conversation should follow (state, cache, window ...), and why."""
    if (conversation is None) == (provider is None):
        raise typer.BadParameter("name a recorded conversation, or --provider")
    try:
        advice = recommend(conversation, provider=provider, surface=surface, model=model, store=store)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    chosen = format_of(form, output)
    if chosen is Format.TABLE and output is None:
        Console().print(Markdown(advice_markdown(advice)))
    elif chosen is Format.JSON:
        write_text(orjson.dumps(advice, default=str, option=orjson.OPT_INDENT_2).decode() + "\n", output)
    elif chosen in (Format.TABLE, Format.MARKDOWN):
        write_text(advice_markdown(advice), output)
    else:
        write_frame(pl.DataFrame(_options(advice)), chosen, output)
