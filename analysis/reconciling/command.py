"""``turnledger reconcile``: what the ledger says against what providers' own exports say."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import polars as pl
import typer

from ...instrument.documents import load_documents
from ..limits import EXCEEDED, percent
from ..options import (
    FormatOption,
    OutputOption,
    SinceOption,
    StoreOption,
    UntilOption,
    since_moment,
    wrong_usage,
)
from ..output import cell_text, format_of, write_frame
from ..providers import find_document
from ..shell import FOR_PEOPLE, opened, say
from .reading import read_exports
from .tying import SCHEMA, WITHIN, counted, tie

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..ledger import Ledger

reconcile_command: Final = typer.Typer()
_FOR_PEOPLE: Final = ("day", "export", "model", "key", "verdict", "ours_usd", "theirs_usd", "difference_usd", "cause")


def reconcile(
    ledger: Ledger,
    files: Iterable[str | Path],
    *,
    provider: str | None = None,
    mapping: Mapping[str, str] | None = None,
    since: date | None = None,
    until: date | None = None,
    within: Decimal = WITHIN,
) -> tuple[pl.DataFrame, list[str]]:
    """Compare a ledger with providers' own exports of usage and costs.

    Args:
        ledger: an open ledger.
        files: exports, JSON or CSV, plain or gzip; several may be pages of one.
        provider: id, name or host of the provider they are of; needed with a mapping.
        mapping: of a CSV file that no provider document knows, by ``day``, ``model``, ``key``, ``calls``,
            ``input_tokens``, ``output_tokens``, ``cache_read_tokens``, ``cache_write_tokens``, ``cost`` and
            ``currency`` the column.
        since: only days from this one on (UTC).
        until: only days before this one.
        within: the share by which figures may differ and still match.

    Returns:
        A row for each day, model and key of either side (``verdict``: matched, missing here, missing there, different
        usage, different price; ``cause``; both sides' costs in USD and counts), and what one must know of the files.

    Raises:
        ExportError: if a file cannot be read or is of no known kind.
        ValueError: if there is no such provider.
    """
    registry = load_documents()
    owner = find_document(registry, provider).id if provider else None
    accounts = read_exports(map(Path, files), registry, provider=owner, mapping=mapping, rate=ledger.own_prices.usd)
    frames = [tie(ledger, account, since=since, until=until, within=within) for account in accounts]
    frame = pl.concat(frames) if frames else pl.DataFrame(schema=SCHEMA)
    return frame, [f"{account.provider}: {line}" for account in accounts for line in account.warnings]


@reconcile_command.command("reconcile")
def _reconcile(
    files: Annotated[list[Path], typer.Argument(help="Exports of a provider: JSON or CSV, plain or gzip.")],
    provider: Annotated[str | None, typer.Option(help="Whose they are. [default: told by what is in them]")] = None,
    field: Annotated[
        list[str] | None,
        typer.Option("--field", help="Of another CSV file: day=Date, cost=Amount, model=, key=, input_tokens= ..."),
    ] = None,
    within: Annotated[str, typer.Option(help="How far figures may differ and still match.")] = "0.5%",
    fail_over: Annotated[
        str | None,
        typer.Option("--fail-over", help="Exit code 3 where differences of cost are more than this share of the bill."),
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    store: StoreOption = None,
    form: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Compare the ledger with a provider's own exports, by day, model and key: what matches, what is missing, and why.

    Example: turnledger reconcile costs.json usage.json --fail-over 1%
    """
    chosen = format_of(form, output)
    with wrong_usage():
        limit = None if fail_over is None else percent(fail_over)
        share = percent(within) / 100
        owner = find_document(load_documents(), provider).id if provider else None
    mapping = dict(_pair(text) for text in field or ())
    start, end = since_moment(since), since_moment(until)
    with opened(store) as ledger:
        frame, warnings = reconcile(
            ledger,
            files,
            provider=owner,
            mapping=mapping,
            since=start and start.date(),
            until=end and end.date(),
            within=share,
        )
        priced_by = ledger.priced_by
    for line in warnings:
        say(f"warning: {line}")
    write_frame(frame.select(_FOR_PEOPLE) if chosen in FOR_PEOPLE else frame, chosen, output)
    _say_total(frame, priced_by)
    if limit is not None:
        _hold(frame, limit)


def _pair(text: str) -> tuple[str, str]:
    name, found, column = text.partition("=")
    if not (found and name.strip() and column.strip()):
        raise typer.BadParameter(f"--field takes name=column, such as cost=Amount, not {text!r}")
    return name.strip(), column.strip()


def _say_total(frame: pl.DataFrame, priced_by: str) -> None:
    said = frame.filter(pl.col("theirs_usd").is_not_null() | pl.col("ours_usd").is_not_null())
    sums: dict[str, Any] = said.select(pl.col("ours_usd", "theirs_usd").sum()).row(0, named=True)
    costs = (
        f"; {cell_text(sums['ours_usd'])} USD here, {cell_text(sums['theirs_usd'])} USD there" if said.height else ""
    )
    say(f"{', '.join(counted(frame)) or 'nothing to compare'}{costs}, priced by {priced_by}")


def _hold(frame: pl.DataFrame, limit: Decimal) -> None:
    """Exit with 3 where what differs is more than a share of the bill; what is missing on one side differs wholly."""
    billed = frame.filter(pl.col("export").is_in(frame.filter(pl.col("theirs_usd").is_not_null())["export"].implode()))
    there, off = Decimal(), Decimal()
    for ours, theirs in billed.select("ours_usd", "theirs_usd").rows():
        there += theirs or Decimal()
        off += abs((ours or Decimal()) - (theirs or Decimal()))
    if off * 100 > limit * there:
        say(f"over the limit: {cell_text(off)} USD differ, of {cell_text(there)} USD billed {limit} % are allowed")
        raise typer.Exit(EXCEEDED)
