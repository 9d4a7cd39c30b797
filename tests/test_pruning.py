"""Retention: old days go and nothing else does, figures stay where they are to, whenever it is killed."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import recorded
import turnledger
from commands import run
from dying import dying
from sizes import sized
from store_rows import call_row, write_store
from turnledger.analysis.grouping import COST_KEYS
from turnledger.analysis.har import import_har
from turnledger.exporters.compacting import compact
from turnledger.exporters.pruning import DETAILS, prune
from turnledger.exporters.rolling import recover
from turnledger.exporters.snapshot import list_files
from turnledger.exporters.store import UNKNOWN_DATE, Store
from turnledger.exporters.writing import write_rows
from upkeep_rows import DAYS, add_file, add_spool, counted, made_rows

if TYPE_CHECKING:
    import polars as pl

SECOND = date.fromisoformat(DAYS[1])


def sizes(store: Store) -> dict[str, int]:
    """Return every file below spans with its size."""
    return {str(path): path.stat().st_size for path in (store.root / "spans").rglob("*") if path.is_file()}


# --- whole days


def test_days_before_the_first_that_is_kept_are_gone(store: Store):
    old = add_file(store) | add_file(store)
    _, left_by_the_dead = add_spool(store, days=DAYS)
    kept = add_file(store, day=DAYS[1])
    unknown = [{**row, "started_at": None} for row in made_rows(2)]
    write_rows(store, UNKNOWN_DATE, unknown)
    report = prune(store, SECOND)
    assert (report.files, report.spans, report.stripped, report.left) == (3, len(old) + 3, 0, [])
    assert report.removed.files == 3
    assert report.removed.size == report.size
    found = set(counted(store))
    assert found & old == set()
    assert len(found & left_by_the_dead) == 3
    assert kept | {row["span_id"] for row in unknown} < found
    assert len(found) == len(counted(store))


def test_pruning_again_changes_nothing(store: Store):
    add_file(store)
    add_file(store, day=DAYS[1])
    prune(store, SECOND)
    before = sizes(store)
    report = prune(store, SECOND)
    assert (report.files, report.spans, report.removed.files) == (0, 0, 0)
    assert sizes(store) == before
    assert compact(store, grace_s=0).written == 0


def test_a_dry_run_says_what_would_be_done_and_does_not(store: Store):
    write_rows(store, DAYS[0], [call_row(raw_usage="{}"), call_row(), {**call_row(), "call_id": None}])
    spool, _ = add_spool(store, days=DAYS[1:])
    before = sizes(store)
    for keep_costs, counts in ((False, (1, 3, 0)), (True, (1, 1, 1))):
        planned = prune(store, SECOND, keep_costs=keep_costs, dry_run=True)
        assert (planned.files, planned.spans, planned.stripped) == counts
        assert sizes(store) == before
        assert spool.exists()
    done = prune(store, SECOND, keep_costs=True)
    assert (done.files, done.spans, done.stripped, done.size) == (1, 1, 1, planned.size)


def test_replaced_files_stay_for_readers_where_that_is_asked_for(store: Store):
    add_file(store)
    assert prune(store, SECOND, grace_s=3600).removed.files == 0
    assert len(sizes(store)) == 2
    assert counted(store) == []
    assert prune(store, SECOND).removed.files == 1


@pytest.mark.parametrize("keep_costs", [False, True])
def test_what_was_pruned_never_comes_back(keep_costs: bool, store: Store):
    spool, ids = add_spool(store)
    content = spool.read_bytes()
    recover(store)
    prune(store, SECOND, keep_costs=keep_costs)
    before = counted(store)
    spool.write_bytes(content)  # its process had died before it removed it
    assert counted(store) == before == (sorted(ids) if keep_costs else [])
    recover(store)
    assert counted(store) == before
    month_ago = datetime.now(UTC).timestamp() - 31 * 86_400
    for path in sizes(store):
        os.utime(path, (month_ago, month_ago))
    prune(store, SECOND, keep_costs=keep_costs)
    assert len(sizes(store)) == int(keep_costs)  # what only says that others are gone is not needed for ever


def test_a_damaged_file_is_left_and_said_and_the_others_are_pruned(store: Store):
    for _ in range(3):
        add_file(store)
    path = sorted(sizes(store))[1]
    Path(path).write_bytes(b"PAR1 this is none")
    for keep_costs in (True, False):
        report = prune(store, SECOND, keep_costs=keep_costs)
        assert [line.partition(": ")[0] for line in report.left] == [path]
        assert "damaged" in report.left[0]
    assert path in sizes(store)
    Path(path).unlink()
    assert counted(store) == []


# --- all but the figures


def figures(store: Path) -> dict[str, pl.DataFrame]:
    """Return all that is worked out of a store's calls, but for what is told of single ones as it was recorded."""
    with turnledger.open(store) as ledger:
        found = {key: ledger.costs(key) for key in (*COST_KEYS, "tag:team")}
        found |= {name: ledger.sql(f"from {name} order by all") for name in ("daily_spend", "unpriced_calls")}
        found["conversations"] = ledger.conversations().drop("extracted_identifiers")
        found |= {"turns": ledger.turns(), "messages": ledger.messages()}
        found["calls"] = ledger.calls().drop(name for name in DETAILS if name != "attributes")
    return found


def test_figures_are_the_same_without_details(tmp_path: Path):
    import_har(recorded.FILES, Store.at(tmp_path))
    team = [call_row(tags=[("team", "a")], user_id="u", identifiers=[("x", ["y"])], content="{}") for _ in range(3)]
    store = write_store(tmp_path, team)
    before = figures(tmp_path)
    assert before["provider"].height > 20
    with turnledger.open(tmp_path) as ledger:
        dated = ledger.sql("select count(*) from spans where started_at is not null").item()
    size = sum(sizes(store).values())
    report = prune(store, date(2026, 11, 20), keep_costs=True)
    assert (report.spans, report.stripped) == (0, dated)
    for name, frame in figures(tmp_path).items():
        assert frame.equals(before[name]), name
    details = " or ".join(f"{name} is not null" for name in DETAILS)
    with turnledger.open(tmp_path) as ledger:
        assert ledger.sql(f"select count(*) from spans where ({details}) and started_at is not null").item() == 0
        assert ledger.sql("select count(*) from spans where raw_metadata is not null").item() > 0  # of unknown time
    assert sum(sizes(store).values()) < size
    assert prune(store, date(2026, 11, 20), keep_costs=True).files == 0


# --- killed


@pytest.mark.parametrize("what", ["prune", "prune-keep"])
def test_a_killed_pruning_leaves_nothing_wrong(what: str, tmp_path: Path):
    def made(folder: Path) -> tuple[Store, set[str], set[str]]:
        store = Store.at(folder)
        rows = [call_row(span_id=f"{number:016x}", raw_usage="{}", tags=[("a", "b")]) for number in range(1, 7)]
        write_rows(store, DAYS[0], rows[:3])
        write_rows(store, DAYS[0], rows[3:])
        return (
            store,
            {row["span_id"] for row in rows},
            add_file(store, day=DAYS[1]) | add_spool(store, days=DAYS[1:])[1],
        )

    touches = dying(what, made(tmp_path / "whole")[0].root)
    assert touches > 10
    step = max(1, touches // sized(5, 60))
    for before in range(1, touches + 1, step):
        store, old, kept = made(tmp_path / str(before))
        assert dying(what, store.root, before) == -9
        found = counted(store)
        assert len(found) == len(set(found))
        assert kept <= set(found) <= kept | old
        if what == "prune-keep":
            assert set(found) == kept | old
        prune(store, SECOND, keep_costs=what == "prune-keep")
        assert set(counted(store)) == (kept if what == "prune" else kept | old)
        assert list_files(store.storage).replaced == []
        assert list_files(store.storage).problems == []


# --- the command


def test_the_command_says_what_it_did(tmp_path: Path):
    today = datetime.now(UTC)
    rows = [call_row(started_at=today - timedelta(days=days), raw_usage="{}") for days in (100, 91, 89, 0)]
    store = write_store(tmp_path / "store", rows)
    where = ("--store", str(store.root))
    first = (today - timedelta(days=90)).date()
    assert f"would prune: the details of 2 spans before {first} (2 files," in run(
        "prune", "--older-than", "90d", "--keep-costs", "--dry-run", *where
    )
    assert f"pruned: the details of 2 spans before {first}" in run(
        "prune", "--older-than", "90d", "--keep-costs", *where
    )
    said = run("prune", "--older-than", "90d", *where)
    assert f"pruned: 2 spans before {first}" in said
    assert "2 replaced files removed" in said
    assert run("prune", "--before", str(first), *where) == f"pruned: nothing to do before {first}\n"
    assert len(counted(store)) == 2
    path = next(iter(sizes(store)))
    Path(path).write_bytes(b"none")
    assert path in run("prune", "--before", "2100-01-01", *where, status=1)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--older-than", "90d", "--before", "2026-01-01"),
        ("--older-than", "soon"),
        ("--older-than", "5h"),
        ("--older-than", "-1d"),
        ("--before", "yesterday"),
        ("--older-than", "1d", "--grace", "x"),
    ],
)
def test_mistakes_are_said_and_nothing_is_lost(words: tuple[str, ...], store: Store):
    add_file(store)
    run("prune", *words, "--store", str(store.root), status=2)
    assert len(counted(store)) == 3


def test_an_age_before_all_time_prunes_nothing(store: Store):
    add_file(store)
    assert "nothing to do" in run("prune", "--older-than", "999999w", "--store", str(store.root))
    assert "no store at" in run("prune", "--older-than", "90d", "--store", str(store.root / "none"), status=1)
    assert len(counted(store)) == 3
