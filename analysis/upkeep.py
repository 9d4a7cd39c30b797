"""``turnledger compact`` and ``migrate``: the files of a store put in order, while it is written and read."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..exporters.compacting import compact as compact_store
from ..exporters.migrating import migrate as migrate_store
from ..exporters.schema import SCHEMA_VERSION
from ..exporters.store import Store
from .ledger import StoreError
from .options import DEFAULT_GRACE, GraceOption, StoreOption, duration_s
from .shell import say

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from ..exporters.rewriting import Removed

upkeep: Final = typer.Typer()


@upkeep.command()
def compact(
    day: Annotated[str | None, typer.Option(help="Only this day, such as 2026-11-01.")] = None,
    grace: GraceOption = DEFAULT_GRACE,
    store: StoreOption = None,
) -> None:
    """Make large sorted files of small ones, of spans the dead have left too. Safe while others write and read."""
    with progress("days") as told:
        done = compact_store(existing(store), day=_day(day), grace_s=duration_s(grace), progress=told)
    said = f"{done.replaced} files became {done.written}, with {done.rows} spans" if done.written else "nothing to gain"
    say(f"compacted: {said}{said_of(done.removed)}")
    finish(done.left)


@upkeep.command()
def migrate(grace: GraceOption = DEFAULT_GRACE, store: StoreOption = None) -> None:
    """Rewrite files of older versions with today's columns. Safe to stop, to run again, and while others are reading.

    Nothing has to be migrated to be read.
    """
    with progress("files") as told:
        done = migrate_store(existing(store), grace_s=duration_s(grace), progress=told)
    said = f"{done.migrated} of {done.files} files, {done.rows} spans" if done.migrated else "nothing to do"
    say(f"migrated to version {SCHEMA_VERSION}: {said}{said_of(done.removed)}")
    finish(done.left)


def existing(location: str | None) -> Store:
    """Return a store that is there.

    Raises:
        StoreError: if there is none.
    """
    store = Store.at(location)
    if not store.is_there():
        raise StoreError(f"no store at {store.location}: name another with --store")
    return store


def _day(text: str | None) -> str | None:
    try:
        return None if text is None else date.fromisoformat(text).isoformat()
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no day such as 2026-11-01") from None


def said_of(removed: Removed) -> str:
    """Return what there is to say of files that were removed."""
    return f"; {removed.files} replaced files removed ({removed.size:,} bytes)" if removed.files else ""


def finish(left: Sequence[str]) -> None:
    """Say what was left alone; where there is something the command has failed."""
    for line in left:
        say(f"warning: {line}")
    if left:
        raise typer.Exit(1)


@contextmanager
def progress(what: str) -> Generator[Callable[[int, int], None]]:
    """Show how much is done, on a terminal only."""
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    task = bar.add_task(what, total=None)
    with bar:
        yield lambda done, of: bar.update(task, completed=done, total=of)
