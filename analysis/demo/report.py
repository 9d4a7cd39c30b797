"""What the demo prints: the books of one run, read from the store as any application would read them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import polars as pl
from genai_prices import Usage, calc_price
from rich.table import Table
from rich.text import Text

from ..output import cell_text, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from rich.console import Console

    from ...exporters.storage import Found
    from ..ledger import Ledger

_WIDE: Final = 90
"""Columns of a terminal that has room for two blanks between the columns of the widest table."""
_COSTS: Final = """
select conversation_id as conversation, any_value(provider) as provider, count(*) as calls,
    sum(attempts)::bigint as attempts, sum(input_tokens)::bigint as input,
    sum(cache_read_tokens)::bigint as cached, sum(output_tokens)::bigint as output, sum(cost_usd) as "cost USD",
    string_agg(distinct coalesce(cost_source, 'unknown'), ', ') as source
from calls where ends_with(conversation_id, $run) group by conversation_id order by min(started_at)
"""
_CACHING: Final = """
select conversation_id as conversation, provider, response_model, started_at, input_tokens as input,
    cache_write_tokens as written, cache_read_tokens as cached, output_tokens, cost_usd as "cost USD"
from calls where ends_with(conversation_id, $run) and (cache_write_tokens > 0 or cache_read_tokens > 0)
order by started_at
"""
_ATTEMPTS: Final = """
select calls.conversation_id as conversation, attempts.attempt_index as attempt, attempts.status_code as status,
    attempts.error_type as error, attempts.retry_after as "retry after s", attempts.duration_ms as ms
from attempts join calls using (call_id)
where ends_with(calls.conversation_id, $run) and calls.attempts > 1 order by calls.started_at, attempts.attempt_index
"""
_STREAMS: Final = """
select conversation_id as conversation, first_chunk_ms as "first chunk ms", duration_ms as "whole call ms",
    output_tokens as output, cost_usd as "cost USD"
from calls where ends_with(conversation_id, $run) and is_stream order by started_at
"""
_IDENTIFIERS: Final = """
select entry.key as identifier, count(*) as calls,
    list(entry.value[1] order by length(entry.value[1]), entry.value[1])[1] as example
from (select unnest(map_entries(identifiers)) as entry from calls where ends_with(conversation_id, $run))
group by entry.key order by entry.key
"""
_UNDOCUMENTED: Final = "undocumented:"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the demo: the ending of its conversations' ids, how long it took, and the files it wrote."""

    name: str
    seconds: float
    files: Sequence[Found]


def print_books(ledger: Ledger, run: Run, console: Console) -> None:
    """Print what the store says of one run."""
    named = {"run": f"-{run.name}"}
    costs, caching = ledger.sql(_COSTS, named), _caching(ledger.sql(_CACHING, named))
    calls, attempts = costs["calls"].sum(), costs["attempts"].sum()
    _say(
        console,
        f"A small app held {costs.height} conversations with two providers' recorded answers, through their real SDKs: "
        f"{calls} calls, {attempts} HTTP attempts, {run.seconds:.1f} s, no key, no network.",
    )
    _print(console, "Costs per conversation", costs)
    _say(console, f"Together {cell_text(costs['cost USD'].sum())} USD: the recorded usage at the prices of today.")
    _print(console, "Prompt caching", caching)
    _say(
        console, f"Saved {cell_text(caching['saved USD'].sum())} USD: a write costs more than plain input, a read less."
    )
    _print(console, "Calls that took more than one attempt", ledger.sql(_ATTEMPTS, named))
    _print(console, "Streamed calls", ledger.sql(_STREAMS, named))
    _print_identifiers(console, ledger.sql(_IDENTIFIERS, named))
    _print_places(console, ledger, run)


def _caching(calls: pl.DataFrame) -> pl.DataFrame:
    """Put beside each call's cost what it would have cost without a cache."""
    plain = [_plain_cost(call) for call in calls.iter_rows(named=True)]
    return calls.select(
        pl.col("conversation", "input", "written", "cached", "cost USD"),
        pl.Series("without cache", plain, calls.schema["cost USD"]),
    ).with_columns((pl.col("without cache") - pl.col("cost USD")).alias("saved USD"))


def _plain_cost(call: Mapping[str, Any]) -> Decimal | None:
    """Return the cost of a call if nothing of its input had been cached, or None if the book has no price for it."""
    usage = Usage(input_tokens=call["input"], output_tokens=call["output_tokens"])
    try:
        price = calc_price(
            usage,
            call["response_model"],
            provider_id=call["provider"],
            genai_request_timestamp=call["started_at"],
        )
    except LookupError:
        return None
    return price.total_price


def _print_identifiers(console: Console, identifiers: pl.DataFrame) -> None:
    found = pl.col("identifier").str.starts_with(_UNDOCUMENTED)
    _print(console, "Identifiers captured", identifiers.filter(~found))
    if swept := identifiers.filter(found)["identifier"].to_list():
        names = ", ".join(printable(name.removeprefix(_UNDOCUMENTED)) for name in swept)
        _say(console, f"Kept as well, though no provider document names them: {names}")


def _print(console: Console, title: str, frame: pl.DataFrame) -> None:
    """Print a frame as a table without lines, so that it fits 80 columns."""
    gap = 2 if console.width >= _WIDE else 1
    table = Table(box=None, padding=(0, gap, 0, 0), header_style="bold", pad_edge=False)
    for name, kind in frame.schema.items():
        table.add_column(name, justify="right" if kind.is_numeric() else "left", overflow="fold")
    for row in frame.iter_rows():
        table.add_row(*(Text(printable(cell_text(cell))) for cell in row))
    _title(console, title)
    console.print(table)


def _title(console: Console, title: str) -> None:
    console.print()
    console.print(Text(title, style="bold cyan"))


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False)


def _print_places(console: Console, ledger: Ledger, run: Run) -> None:
    """Print what to look at next; lines that are copied are not broken."""
    store = ledger.store.address
    places = {
        "Where it is": [f"{ledger.store.storage.path(file.name)} ({file.size:,} bytes)" for file in run.files],
        "Try next": [
            f"turnledger conversations --store {shlex.quote(store)}",
            f"turnledger costs --by provider,model --store {shlex.quote(store)}",
            f'turnledger sql "from calls limit 3" --format json --store {shlex.quote(store)}',
        ],
    }
    for title, lines in places.items():
        _title(console, title)
        for line in lines:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
