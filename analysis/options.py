"""Options that commands share, and what their values mean."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from .output import Format

ROWS_SHOWN: Final = 50
_AGE: Final = re.compile(r"(\d{1,5})\s*([mhdw])")
_AGE_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

StoreOption = Annotated[
    Path | None,
    typer.Option("--store", help="Folder of the ledger. [default: TURNLEDGER_STORE, else ./turnledger-data]"),
]
FormatOption = Annotated[
    Format | None, typer.Option("--format", "-f", help="How to print. [default: by --output's ending, else table]")
]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file, replacing it.")]
SinceOption = Annotated[
    str | None, typer.Option("--since", help="Only calls since then: 30m, 24h, 7d, 4w or a date such as 2026-11-01.")
]
LimitOption = Annotated[
    int | None,
    typer.Option("--limit", "-n", min=1, help=f"At most this many rows. [default: {ROWS_SHOWN} in a table, else all]"),
]


def since_moment(text: str | None) -> datetime | None:
    """Return the moment that ``--since`` names; a date without a zone is UTC.

    Raises:
        typer.BadParameter: if it is neither an age nor a date.
    """
    if text is None:
        return None
    if age := _AGE.fullmatch(text.strip()):
        return datetime.now(UTC) - timedelta(**{_AGE_UNITS[age[2]]: int(age[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither an age such as 7d nor a date such as 2026-11-01") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
