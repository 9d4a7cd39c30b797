"""Compaction: small files become large ones, while others write and read, and whenever it is killed."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import turnledger
from dying import dying
from hypothesis import settings
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from turnledger.exporters import compacting
from turnledger.exporters.compacting import MANY_FILES, Limits, compact, compact_some
from turnledger.exporters.footers import footer_of
from turnledger.exporters.parquet import ParquetSpanExporter
from turnledger.exporters.rewriting import GRACE_S, remove_replaced, upkeep
from turnledger.exporters.schema import SCHEMA_VERSION
from turnledger.exporters.snapshot import list_files, snapshot
from turnledger.exporters.spool import spool_files
from turnledger.exporters.store import UNKNOWN_DATE, Store
from turnledger.exporters.writing import write_rows
from upkeep_rows import DAYS, add_file, add_spool, counted, ids_in, made_rows

if TYPE_CHECKING:
    import pytest

TESTS = Path(__file__).parent
COMMAND = Path(sys.executable).parent / "turnledger"
TORTURE = settings.get_current_profile_name() == "torture"


def names(store: Store) -> list[str]:
    """Return the names of the files that count."""
    return [file.name for file in list_files(store.storage).files]


def on_disk(store: Store) -> list[str]:
    """Return every file below spans, hidden ones too."""
    return sorted(str(path.relative_to(store.root)) for path in (store.root / "spans").rglob("*") if path.is_file())


# --- what becomes of files


def test_the_small_files_of_a_day_become_one_sorted_by_time(store: Store):
    rows = made_rows(9)
    for at in (2, 0, 1):
        write_rows(store, DAYS[0], rows[at::3])
    other = add_file(store, day=DAYS[1])
    report = compact(store)
    assert (report.written, report.replaced, report.rows, report.removed.files, report.left) == (1, 3, 9, 0, [])
    compacted, untouched = names(store)
    assert ids_in(store.storage, compacted) == [row["span_id"] for row in rows]
    assert set(ids_in(store.storage, untouched)) == other
    with store.storage.open(compacted) as file:
        found = pq.ParquetFile(file).read().to_pylist()
    assert [(row["started_at"], row["finish_reasons"], row["input_tokens"]) for row in found] == [
        (row["started_at"], ["stop"], 10) for row in rows
    ]


def test_compacting_again_changes_nothing(store: Store):
    for _ in range(3):
        add_file(store)
    compact(store)
    before = on_disk(store)
    report = compact(store)
    assert (report.written, report.replaced, report.removed.files) == (0, 0, 0)
    assert on_disk(store) == before


def test_replaced_files_stay_as_long_as_somebody_may_be_reading_them(store: Store):
    ids = sorted(add_file(store) | add_file(store))
    reader = snapshot(store)
    compact(store)
    assert len(on_disk(store)) == 3
    assert counted(store, reader) == ids
    (name,) = names(store)
    path = Path(store.storage.path(name))
    for age, left in ((GRACE_S - 60, 3), (GRACE_S + 60, 1)):
        os.utime(path, (time.time() - age, time.time() - age))
        compact(store)
        assert len(on_disk(store)) == left
        assert counted(store) == ids


def test_spans_of_unknown_time_and_what_the_dead_have_left_are_compacted_too(store: Store):
    for _ in range(2):
        write_rows(store, UNKNOWN_DATE, [{**row, "started_at": None} for row in made_rows(2)])
    _, ids = add_spool(store, days=DAYS)
    add_file(store)
    report = compact(store, grace_s=0)
    assert (report.written, report.replaced, report.removed.files) == (2, 4, 4)
    assert [path for folder in store.spools for path in spool_files(folder)] == []
    assert ids < set(counted(store))
    assert len(counted(store)) == 2 * 2 + 2 * 3 + 3


def test_one_day_can_be_compacted_by_itself(store: Store):
    for day in DAYS * 2:
        add_file(store, day=day)
    told: list[tuple[int, int]] = []
    assert compact(store, day=DAYS[1], progress=lambda *done: told.append(done)).written == 1
    assert [name.partition("/date=")[2][:10] for name in names(store)] == [DAYS[0], DAYS[0], DAYS[1]]
    assert told == [(0, 1), (1, 1)]


def test_no_file_becomes_larger_than_it_may(store: Store, monkeypatch: pytest.MonkeyPatch):
    for count in (4, 4, 4, 9, 1, 1):
        add_file(store, count)
    monkeypatch.setattr(compacting, "LARGE", Limits(1 << 30, 1 << 30, 10))
    compact(store, grace_s=0)
    assert sorted(footer_of(store.storage, name).rows for name in names(store)) == [5, 8, 10]
    before = on_disk(store)
    assert compact(store, grace_s=0).written == 0
    assert on_disk(store) == before


def test_large_files_are_left_alone(store: Store, monkeypatch: pytest.MonkeyPatch):
    add_file(store)
    add_file(store, 500)
    sizes = sorted(file.size for file in list_files(store.storage).files)
    monkeypatch.setattr(compacting, "SMALL_BYTES", sizes[1])
    assert compact(store).written == 0
    add_file(store)
    assert compact(store).replaced == 2


def test_a_damaged_file_is_left_alone_and_takes_no_other_with_it(store: Store):
    for _ in range(3):
        add_file(store)
    path = Path(store.storage.path(names(store)[1]))
    content = path.read_bytes()
    path.write_bytes(content[:200] + bytes(len(content) // 2) + content[200 + len(content) // 2 :])  # its end is whole
    damaged = path.read_bytes()
    report = compact(store, grace_s=0)
    assert (report.written, report.replaced) == (1, 2)
    assert [line.partition(": ")[0] for line in report.left] == [str(path)]
    before = on_disk(store)
    assert len(before) == 2
    assert compact(store, grace_s=0).written == 0
    assert (on_disk(store), path.read_bytes()) == (before, damaged)


def test_what_dead_writers_have_left_is_removed_after_a_day(store: Store):
    add_file(store)
    folder = Path(store.storage.path(names(store)[0])).parent
    fresh, stale = folder / ".a.parquet.0001.tmp", folder / ".b.parquet.0002.tmp"
    for path in (fresh, stale):
        path.write_bytes(b"half a file")
    yesterday = time.time() - 90_000
    os.utime(stale, (yesterday, yesterday))
    assert remove_replaced(store).files == 1
    assert (fresh.exists(), stale.exists()) == (True, False)


# --- without being asked to


def some_today(store: Store, count: int) -> float:
    for _ in range(count):
        add_file(store, 1)
    return datetime(2026, 11, 1, 18, tzinfo=UTC).timestamp()


def test_a_great_many_small_files_are_compacted_by_themselves(store: Store):
    now = some_today(store, MANY_FILES)
    assert compact_some(store, now).written == 0
    some_today(store, 1)
    report = compact_some(store, now + 86_400)  # of yesterday
    assert (report.written, report.replaced) == (1, MANY_FILES + 1)
    assert compact_some(store, now).written == 0  # the replaced ones are still there
    assert len(counted(store)) == MANY_FILES + 1


def test_other_days_and_a_store_somebody_is_working_on_are_left(store: Store):
    now = some_today(store, MANY_FILES + 1)
    assert compact_some(store, now + 2 * 86_400).written == 0
    with upkeep(store):
        assert compact_some(store, now).written == 0
    assert compact_some(store, now).written == 1


def test_an_application_compacts_the_day_it_writes_to(store: Store):
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    ids = set().union(*(add_file(store, 1, day) for _ in range(MANY_FILES + 1)))
    exporter = ParquetSpanExporter(store.root)
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("t").start_span("one").end()
    assert exporter.force_flush()
    for thread in threading.enumerate():
        if thread.name == "turnledger-roll":
            thread.join(30)
    assert len(names(store)) == 1
    provider.shutdown()
    found = counted(store)
    assert ids < set(found)
    assert len(found) == len(set(found))


# --- with others, and to the death


def test_readers_count_every_span_once_while_others_write_and_compact(store: Store):
    count, grace_s = (200 if TORTURE else 40), 3.0
    store.root.mkdir()
    writers = [
        subprocess.Popen(
            [sys.executable, str(TESTS / "writing_spans.py"), str(store.root), str(first), str(count)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for first in (0, 1_000_000)
    ]
    ended = threading.Event()
    rounds: list[int] = []

    def keep() -> None:
        while not ended.is_set():
            rounds.append(compact(store, grace_s=grace_s).written)

    keeper = threading.Thread(target=keep)
    keeper.start()
    seen: set[str] = set()
    readings = 0
    try:
        while any(writer.poll() is None for writer in writers):
            since = time.monotonic()
            try:
                found = counted(store)
            except FileNotFoundError:  # only where reading has taken longer than files stay
                assert time.monotonic() - since > grace_s
                continue
            assert len(found) == len(set(found))
            assert seen <= set(found)
            seen = set(found)
            readings += 1
    finally:
        ended.set()
        keeper.join()
        outputs = [writer.communicate()[0] for writer in writers]
    total = sum(int(output) for output in outputs)
    assert total == 2 * count * 20
    assert len(counted(store)) == len(set(counted(store))) == total
    assert sum(rounds) > 1
    assert readings > 1
    with turnledger.open(store.root) as ledger:
        assert ledger.sql("select count(*), count(distinct span_id) from spans").row(0) == (total, total)


def test_a_killed_compaction_leaves_nothing_wrong(store: Store):
    ids: set[str] = set()
    for day in DAYS:
        for _ in range(3):
            ids |= add_file(store, day=day)
    ids |= add_spool(store, days=DAYS)[1]
    start = store.root.with_name("start")
    shutil.copytree(store.root, start)
    touches = dying("compact", shutil.copytree(start, store.root.with_name("whole")))
    tried = random.Random(11).choices(range(1, touches), k=200 if TORTURE else 20)
    for before in tried:
        shutil.rmtree(store.root)
        shutil.copytree(start, store.root)
        assert dying("compact", store.root, before) < 0
        assert counted(store) == sorted(ids), before
        assert snapshot(store).listing.problems == []
        compact(store, grace_s=0)
        assert counted(store) == sorted(ids), before
        assert len(names(store)) == 2
        unfinished = [name for name in on_disk(store) if name not in names(store)]
        assert all(re.search(r"/\..*\.tmp$", name) for name in unfinished), unfinished


# --- the command


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_the_commands_say_in_one_line_what_was_done(store: Store):
    for _ in range(3):
        add_file(store)
    done = run("compact", "--store", store.root)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "compacted: 3 files became 1, with 9 spans\n"
    done = run("compact", "--grace", "0", "--day", DAYS[0], "--store", store.root)
    assert re.fullmatch(r"compacted: nothing to gain; 3 replaced files removed \([\d,]+ bytes\)\n", done.stderr)
    done = run("migrate", "--store", store.root)
    assert (done.returncode, done.stderr) == (0, f"migrated to version {SCHEMA_VERSION}: nothing to do\n")


def test_the_commands_say_what_is_wrong(store: Store, tmp_path: Path):
    add_file(store)
    for arguments, status, line in (
        (["compact", "--store", tmp_path / "none"], 1, "no store at"),
        (["migrate", "--store", tmp_path / "none"], 1, "no store at"),
        (["compact", "--grace", "soon", "--store", store.root], 2, "is no duration such as 1h"),
        (["compact", "--day", "monday", "--store", store.root], 2, "is no day such as"),
    ):
        done = run(*arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (status, "", 1)
        assert line in done.stderr
    Path(store.storage.path(names(store)[0])).write_bytes(b"no Parquet")
    done = run("migrate", "--store", store.root)
    assert done.returncode == 1
    assert "left as it is, it is damaged" in done.stderr
