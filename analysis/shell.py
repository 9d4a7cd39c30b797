"""What commands share: opening a ledger, printing rows, saying something beside them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from .ledger import Ledger, open_ledger
from .options import ROWS_SHOWN
from .output import Format, write_frame

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

FOR_PEOPLE: Final = (Format.TABLE, Format.MARKDOWN)


def opened(store: str | None) -> Ledger:
    """Open a ledger, and say what of it could not be read."""
    ledger = open_ledger(store)
    for problem in ledger.problems:
        say(f"warning: {problem}")
    return ledger


def rows_shown(limit: int | None, form: Format) -> int | None:
    """Return how many rows to print, None for all of them."""
    return limit if limit is not None else ROWS_SHOWN if form in FOR_PEOPLE else None


def print_rows(
    frame: pl.DataFrame, columns: tuple[str, ...], form: Format, output: Path | None, shown: int | None
) -> None:
    """Print the columns that people want, or all of them for programs; say so when rows are left out."""
    more = shown is not None and frame.height > shown
    rows = frame.head(shown) if more and shown is not None else frame
    write_frame(rows.select(columns) if form in FOR_PEOPLE else rows, form, output)
    if more:
        say(f"the first {shown} rows; --limit shows more")
    if "unpriced_calls" in frame.columns and frame["unpriced_calls"].sum():
        say("some calls are without a cost, so not in the sums (turnledger sql 'from unpriced_calls')")


def say(line: str) -> None:
    """Say something to people, beside what is printed for programs."""
    sys.stderr.write(f"{line}\n")
