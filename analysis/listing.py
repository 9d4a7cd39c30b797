"""``turnledger calls``, ``turns``, ``messages`` and ``conversations``: what the ledger holds, newest first."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from .options import FormatOption, LimitOption, OutputOption, SinceOption, StoreOption, since_moment
from .output import format_of
from .shell import opened, print_rows, rows_shown

listing: Final = typer.Typer()
ConversationOption = Annotated[str | None, typer.Option(help="Only this conversation.")]

_CALL_COLUMNS: Final = (
    *("started_at", "conversation_id", "response_model", "input_tokens", "cache_read_tokens", "output_tokens"),
    *("cost_usd", "attempts", "status_code", "error_type"),
)
_CONVERSATION_COLUMNS: Final = (
    *("last_started_at", "conversation_id", "models", "calls", "turns", "input_tokens", "cache_read_tokens"),
    *("output_tokens", "cost_usd", "unpriced_calls"),
)


_TURN_COLUMNS: Final = (
    *("started_at", "conversation_id", "turn_index", "calls", "tool_rounds", "input_tokens", "cache_read_tokens"),
    *("output_tokens", "cost_usd", "unpriced_calls"),
)
_MESSAGE_COLUMNS: Final = (
    *("conversation_id", "turn_index", "call_id", "role", "messages", "size", "is_resent", "tokens", "tokens_source"),
    *("cached_tokens", "cost_usd", "times_resent", "resent_cost_usd", "total_cost_usd"),
)


@listing.command()
def calls(
    conversation: Annotated[str | None, typer.Option(help="Only calls of this conversation.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only calls to this provider.")] = None,
    since: SinceOption = None,
    limit: LimitOption = None,
    store: StoreOption = None,
    form: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """List provider calls, newest first: models, tokens, costs."""
    chosen = format_of(form, output)
    with opened(store) as ledger:
        shown = rows_shown(limit, chosen)
        frame = ledger.calls(
            conversation=conversation, provider=provider, since=since_moment(since), limit=shown and shown + 1
        )
        print_rows(frame, _CALL_COLUMNS, chosen, output, shown)


@listing.command()
def conversations(
    since: SinceOption = None,
    limit: LimitOption = None,
    store: StoreOption = None,
    form: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """List conversations, the one last continued first: calls, tokens, costs."""
    chosen = format_of(form, output)
    with opened(store) as ledger:
        shown = rows_shown(limit, chosen)
        frame = ledger.conversations(since=since_moment(since), limit=shown and shown + 1)
        print_rows(frame, _CONVERSATION_COLUMNS, chosen, output, shown)


@listing.command()
def turns(
    conversation: ConversationOption = None,
    since: SinceOption = None,
    limit: LimitOption = None,
    store: StoreOption = None,
    form: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """List turns, newest first: a user's input and every call until its answer."""
    chosen = format_of(form, output)
    with opened(store) as ledger:
        shown = rows_shown(limit, chosen)
        frame = ledger.turns(conversation=conversation, since=since_moment(since), limit=shown and shown + 1)
        print_rows(frame, _TURN_COLUMNS, chosen, output, shown)


@listing.command()
def messages(
    conversation: ConversationOption = None,
    limit: LimitOption = None,
    store: StoreOption = None,
    form: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """List messages, in order: who wrote them, how large they are, what they cost, then and when sent again."""
    chosen = format_of(form, output)
    with opened(store) as ledger:
        shown = rows_shown(limit, chosen)
        frame = ledger.messages(conversation=conversation, limit=shown and shown + 1)
        print_rows(frame, _MESSAGE_COLUMNS, chosen, output, shown)
