"""``turnledger costs``: what calls cost, grouped, and whether that is within a budget."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final

import polars as pl
import typer

from .grouping import COST_KEYS, MEASURES, split_keys
from .limits import EXCEEDED, amount_usd
from .options import FormatOption, OutputOption, SinceOption, StoreOption, UntilOption, since_moment, wrong_usage
from .output import cell_text, format_of, write_frame
from .shell import FOR_PEOPLE, opened, rows_shown, say
from .splitting import exact_sum

if TYPE_CHECKING:
    from collections.abc import Mapping

spending: Final = typer.Typer()


@spending.command()
def costs(
    by: Annotated[
        str, typer.Option(help=f"Group by one or more, with commas: {', '.join(COST_KEYS)}, tag:<name>.")
    ] = "model",
    since: SinceOption = None,
    until: UntilOption = None,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Rows of their own; the last row sums the others. [default: 50 in a table, else all]"),
    ] = None,
    fail_over: Annotated[
        str | None, typer.Option("--fail-over", help="A budget such as 50usd: exit code 3 where the sum is more.")
    ] = None,
    store: StoreOption = None,
    form: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Show what calls cost, grouped, and hold it against a budget; what has no price is counted, never free."""
    chosen = format_of(form, output)
    with wrong_usage():
        budget = None if fail_over is None else amount_usd(fail_over)
    start, end = since_moment(since), since_moment(until)
    with opened(store) as ledger:
        with wrong_usage():
            frame = ledger.costs(split_keys(by), since=start, until=end, top=rows_shown(top, chosen))
        undated: int = ledger.sql("select count(*) from call_costs where started_at is null").item()
        priced_by = ledger.priced_by
    write_frame(_for_people(frame) if chosen in FOR_PEOPLE else frame, chosen, output)
    total: dict[str, Any] = frame.select(pl.col(*MEASURES).sum()).row(0, named=True)
    _say_total(total, priced_by)
    if undated and (start or end):
        say(f"of unknown time, so left out: {undated}")
    if budget is not None:
        _hold(total, budget)


def _for_people(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with the last one named where it sums others, and without columns that say nothing."""
    rest = frame.columns[0]
    if "other_groups" in frame.columns:
        named = pl.format("(others: {})", "other_groups")
        shown = frame.with_columns(pl.coalesce(named, pl.col(rest).cast(pl.String)).alias(rest)).drop("other_groups")
    else:
        shown = frame
    silent = ("billed_cost_usd", "estimated_cost_usd", "priced_part_usd", "reasoning_tokens")
    return shown.drop(name for name in silent if shown[name].null_count() == shown.height)


def _say_total(total: Mapping[str, Any], priced_by: str) -> None:
    say(f"calls: {total['calls']}, cost: {cell_text(Decimal(total['cost_usd']))} USD, priced by {priced_by}")
    if total["estimated_cost_usd"]:
        say(f"estimated of it: {cell_text(total['estimated_cost_usd'])} USD")
    if total["unpriced_calls"]:
        say(f"without a cost, so not in the sum: {total['unpriced_calls']} (turnledger sql 'from unpriced_calls')")
    if total["priced_part_usd"]:
        say(f"known of these: {cell_text(total['priced_part_usd'])} USD, the part that has a price")


def _hold(total: Mapping[str, Any], budget: Decimal) -> None:
    """Say whether the sum is within the budget; what is known of calls without a cost was spent, too."""
    known = exact_sum((Decimal(total["cost_usd"]), Decimal(total["priced_part_usd"])))
    least = "at least " if total["unpriced_calls"] else ""
    if known > budget:
        say(f"over the limit: {least}{cell_text(known)} USD, {cell_text(budget)} USD are allowed")
        raise typer.Exit(EXCEEDED)
    if total["unpriced_calls"]:
        say(f"not known to be within the limit: {least}{cell_text(known)} USD, {cell_text(budget)} USD are allowed")
