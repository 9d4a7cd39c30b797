"""``turnledger prune`` and ``erase``: what is to be in a store no longer."""

from __future__ import annotations

import functools
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ..exporters.erasing import erase as erase_from
from ..exporters.mentions import Mention
from ..exporters.pruning import prune as prune_store
from .ledger import Ledger
from .options import GraceOption, StoreOption, age, duration_s, moment_ago
from .shell import say
from .upkeep import existing, finish, progress, said_of

if TYPE_CHECKING:
    from ..exporters.store import Store

retention: Final = typer.Typer()

_OF_CONVERSATION: Final = "$id in (conversation_id, provider_conversation_id, session_id, call_id, trace_id)"
_OF_USER: Final = "user_id = $id"
_SPANS: Final = """
    with named as (select span_id, call_id from spans where {condition}),
    whole as (select call_id from named union select call_id from calls where {model} = $id)
    select span_id from named union select span_id from spans where call_id in (from whole)
"""
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would be done.")]


@retention.command()
def prune(  # noqa: PLR0913  the options of a command
    older_than: Annotated[str | None, typer.Option(help="Days (UTC) that are longer ago than this: 90d, 12w.")] = None,
    before: Annotated[str | None, typer.Option(help="Days before this one, such as 2026-08-01.")] = None,
    keep_costs: Annotated[
        bool, typer.Option("--keep-costs", help="Keep what figures are made of; raw metadata and identifiers go.")
    ] = False,
    dry_run: DryRunOption = False,
    grace: GraceOption = "0",
    store: StoreOption = None,
) -> None:
    """Take old days out of a store, whole, or all of them but what figures are made of. Safe while others write.

    Days are those of UTC; recordings of unknown time are kept. Who has the ledger open opens it again.
    """
    first = _first_kept(older_than, before)
    with progress("days") as told:
        done = prune_store(
            existing(store), first, keep_costs=keep_costs, dry_run=dry_run, grace_s=duration_s(grace), progress=told
        )
    say(_pruned(first, done.spans, done.stripped, f"{done.files} files, {done.size:,} bytes", dry_run=dry_run))
    if done.removed.files:
        say(said_of(done.removed).removeprefix("; "))
    finish(done.left)


def _pruned(first: date, spans: int, stripped: int, files: str, *, dry_run: bool) -> str:
    if not (spans or stripped):
        return f"pruned: nothing to do before {first}"
    counts = [f"{spans} spans"] if spans else []
    counts += [f"the details of {stripped} spans"] if stripped else []
    return f"{'would prune' if dry_run else 'pruned'}: {' and '.join(counts)} before {first} ({files})"


def _first_kept(older_than: str | None, before: str | None) -> date:
    if (older_than is None) == (before is None):
        raise typer.BadParameter("say either --older-than 90d or --before 2026-08-01")
    if before is not None:
        try:
            return date.fromisoformat(before)
        except ValueError:
            raise typer.BadParameter(f"{before!r} is no day such as 2026-08-01") from None
    if (past := age(str(older_than))) is None or past < timedelta(days=1):
        raise typer.BadParameter(f"{older_than!r} is no age of a day or more, such as 90d or 12w")
    return moment_ago(past).date()


@retention.command()
def erase(
    conversation: Annotated[str | None, typer.Option(help="A conversation's id, by whomever it was given.")] = None,
    user: Annotated[str | None, typer.Option(help="A user's id.")] = None,
    wait: Annotated[str, typer.Option(help="How long to wait for processes that are recording: 30s, 5m.")] = "30s",
    dry_run: DryRunOption = False,
    store: StoreOption = None,
) -> None:
    """Erase a conversation or a user: their spans, and every mention of the id in others; then search for it.

    It ends with 1 if the id is still somewhere, or if that cannot be told. Who has the ledger open opens it again.
    """
    identifier = conversation if user is None else user
    if identifier is None or (conversation is not None and user is not None):
        raise typer.BadParameter("say either --conversation ID or --user ID")
    here = existing(store)
    try:
        mention = Mention(identifier)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    model, condition = ("conversation_id", _OF_CONVERSATION) if user is None else ("user_id", _OF_USER)
    whose = functools.partial(_spans_of, here, _SPANS.format(model=model, condition=condition), identifier)
    if dry_run:
        say(f"would erase: {len(whose())} spans, and every mention of the id in others")
        return
    done = erase_from(here, mention, whose, wait_s=duration_s(wait))
    say(f"erased: {done.spans} spans; {done.changed} others mentioned it{said_of(done.removed)}")
    if not done.remaining:
        say(f"searched {done.files} files with {done.searched} spans: it is not there")
    finish(done.remaining)


def _spans_of(store: Store, query: str, identifier: str) -> set[str]:
    with Ledger(store) as ledger:
        return set(ledger.sql(query, {"id": identifier})["span_id"].to_list())
