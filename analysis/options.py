"""Options that commands share, and what their values mean."""

from __future__ import annotations

import re
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ..exporters.rewriting import GRACE_S
from .output import Format

if TYPE_CHECKING:
    from collections.abc import Generator

ROWS_SHOWN: Final = 50

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="The ledger: a folder, or s3://bucket/prefix. [default: TURNLEDGER_STORE, else ./turnledger-data]",
    ),
]
FormatOption = Annotated[
    Format | None, typer.Option("--format", "-f", help="How to print. [default: by --output's ending, else table]")
]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file, replacing it.")]
SinceOption = Annotated[
    str | None, typer.Option("--since", help="Only calls since then: 30m, 24h, 7d, 4w or a date such as 2026-11-01.")
]
UntilOption = Annotated[
    str | None, typer.Option("--until", help="Only calls before then: an age or a date, as with --since.")
]
LimitOption = Annotated[
    int | None,
    typer.Option("--limit", "-n", min=1, help=f"At most this many rows. [default: {ROWS_SHOWN} in a table, else all]"),
]
GraceOption = Annotated[
    str,
    typer.Option(
        "--grace",
        help="How long replaced files stay for those who are reading them: 1h, 10m, 30s; 0 only where nobody reads.",
    ),
]
DEFAULT_GRACE: Final = f"{GRACE_S / 3600:.0f}h"
_FIRST: Final = datetime(1, 1, 1, tzinfo=UTC)
_DURATION: Final = re.compile(r"(\d{1,6})\s*([smhdw]?)")
_UNITS_S: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def duration_s(text: str) -> float:
    """Return the seconds of a duration such as ``1h``; without a unit they are seconds.

    Raises:
        typer.BadParameter: if it is none.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is no duration such as 1h, 10m or 30s")
    return float(int(found[1]) * _UNITS_S[found[2]])


def age(text: str) -> timedelta | None:
    """Return an age such as ``7d``, None if it is none."""
    found = _DURATION.fullmatch(text.strip())
    return timedelta(seconds=duration_s(text)) if found is not None and found[2] else None


def moment_ago(past: timedelta, now: datetime | None = None) -> datetime:
    """Return the moment an age ago, or before ``now``; one before all time is the first there is."""
    end = now or datetime.now(UTC)
    return end - past if past < end - _FIRST else _FIRST


def since_moment(text: str | None) -> datetime | None:
    """Return the moment that ``--since`` or ``--until`` names; a date without a zone is UTC.

    Raises:
        typer.BadParameter: if it is neither an age nor a date.
    """
    with wrong_usage():
        return None if text is None else moment(text)


def moment(text: str, now: datetime | None = None) -> datetime:
    """Return the moment that an age before ``now`` or a date names; a date without a zone is UTC.

    Raises:
        ValueError: if it is neither.
    """
    if (past := age(text)) is not None:
        return moment_ago(past, now)
    try:
        said = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is neither an age such as 7d nor a date such as 2026-11-01") from None
    return said if said.tzinfo else said.replace(tzinfo=UTC)


@contextmanager
def wrong_usage() -> Generator[None]:
    """Turn a ValueError into one of usage: what was said on the command line caused it."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
