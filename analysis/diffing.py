"""``turnledger diff``: two periods, stores or tagged runs compared, and whether the cost has risen over a limit."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from .comparing import diff as compare
from .diff_report import diff_json, diff_markdown, diff_text
from .grouping import cost_keys, split_keys
from .limits import EXCEEDED, percent
from .options import FormatOption, OutputOption, StoreOption, wrong_usage
from .output import UNPIPED_WIDTH, Format, cell_text, format_of, write_frame, write_text
from .shell import say
from .sides import parse_side

if TYPE_CHECKING:
    from pathlib import Path

    from .comparing import Comparison

diffing: Final = typer.Typer()
_SIDE: Final = "a period, a store, a tag (release=v2) or any key with its value, combined with commas."


@diffing.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help=f"The side before: {_SIDE}")],
    b: Annotated[str, typer.Argument(metavar="B", help="The side after.")],
    by: Annotated[
        str | None,
        typer.Option(help="Match groups by one or more keys of costs. [default: observation, else model]"),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Groups shown in a table or Markdown; one row sums the others.")] = 20,
    fail_over: Annotated[
        str | None, typer.Option("--fail-over", help="Exit code 3 where B costs more than A by over this share: 10%.")
    ] = None,
    store: StoreOption = None,
    form: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Compare two sides: calls, tokens, times and costs, why the cost changed, and where most.

    JSON has all of it, CSV and Parquet the groups.
    """
    keys = None if by is None else split_keys(by)
    with wrong_usage():
        limit = None if fail_over is None else percent(fail_over)
        for said in (a, b):
            parse_side(said)
        if keys is not None:
            cost_keys(keys)
    comparison = compare(a, b, by=keys, store=store)
    _show(comparison, top, format_of(form, output), output)
    if limit is not None:
        _hold(comparison, limit)


def _show(comparison: Comparison, top: int, chosen: Format, output: Path | None) -> None:
    if chosen is Format.TABLE:
        is_wide = output is not None or not sys.stdout.isatty()
        write_text(diff_text(comparison, top, UNPIPED_WIDTH if is_wide else Console().width), output)
    elif chosen is Format.MARKDOWN:
        write_text(diff_markdown(comparison, top), output)
    elif chosen is Format.JSON:
        write_text(diff_json(comparison), output)
    else:
        write_frame(comparison.groups, chosen, output)
        for note in comparison.notes:
            say(note)


def _hold(comparison: Comparison, limit: Decimal) -> None:
    """Say whether the cost has risen over the limit."""
    before, after = (cell_text(cost) for cost in comparison.known_usd)
    said = f"{before} USD before, {after} USD after, a rise of {limit.normalize():f}% is allowed"
    if comparison.has_risen(limit):
        say(f"over the limit: {said}{'' if comparison.is_certain else ', as far as costs are known'}")
        raise typer.Exit(EXCEEDED)
    if not comparison.is_certain:
        say(f"not known to be within the limit: {said}, and some calls have no cost")
