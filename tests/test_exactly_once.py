"""Every span counts exactly once, whatever is written, rolled, rewritten, removed and read in whatever order."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from turnledger.exporters.compacting import compact
from turnledger.exporters.rewriting import OutdatedError, remove_replaced, rewrite
from turnledger.exporters.rolling import recover
from turnledger.exporters.snapshot import Snapshot, is_rewritten, list_files, snapshot, stem_of
from turnledger.exporters.spool import spool_files
from turnledger.exporters.storage import FolderStorage
from turnledger.exporters.store import Store, day_folder, day_of
from upkeep_rows import DAYS, add_file, add_spool, counted, ids_in

if TYPE_CHECKING:
    from collections.abc import Callable

GRACE_S = 3600.0
STEP_S = GRACE_S / 2
TORTURE = settings.get_current_profile_name() == "torture"


class Unhurried(FolderStorage):
    """A place where a rewritten file appears later than its writer meant it to, once it has been written."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.waiting: list[tuple[str, bytes]] = []

    def publish(self, name: str, write: Callable[[IO[bytes]], object], *, anew: bool = False) -> None:
        """Write, and keep it back."""
        assert not anew
        file = io.BytesIO()
        write(file)
        self.waiting.append((name, file.getvalue()))
        raise _WaitingError

    def appear(self) -> str:
        """Let the first that waits appear; returns its name."""
        name, content = self.waiting.pop(0)
        super().publish(name, lambda file: file.write(content))
        return name


class _WaitingError(Exception):
    pass


class Reader(NamedTuple):
    """Somebody who has listed the store and reads on."""

    found: Snapshot
    ids: list[str]
    age: list[float]


class Upkeep(RuleBasedStateMachine):
    """A store in the hands of everybody at once; time is what the files' times say."""

    @initialize()
    def begin(self) -> None:
        """Start with a store of nothing."""
        self.root = Path(tempfile.mkdtemp())
        self.store = Store.at(self.root / "store")
        self.elsewhere = Unhurried(self.store.root)
        self.store.root.mkdir()
        self.ids: set[str] = set()
        self.readers: list[Reader] = []

    def teardown(self) -> None:
        """Leave nothing behind."""
        if hasattr(self, "root"):
            shutil.rmtree(self.root)
            shutil.rmtree(self.store.spill, ignore_errors=True)

    # --- what comes in

    @rule(day=st.sampled_from(DAYS))
    def file(self, day: str) -> None:
        """Write a file."""
        self.ids |= add_file(self.store, 2, day)

    @rule(days=st.sampled_from([DAYS[:1], DAYS]))
    def spool(self, days: tuple[str, ...]) -> None:
        """Leave a spool."""
        self.ids |= add_spool(self.store, 2, days)[1]

    @rule()
    def roll(self) -> None:
        """Make Parquet of the spools."""
        recover(self.store)

    @rule()
    def roll_and_die_before_the_spools_are_gone(self) -> None:
        """Make Parquet of the spools, which stay."""
        left = [(path, path.read_bytes()) for path in spool_files(self.store.spool)]
        recover(self.store)
        for path, content in left:
            path.write_bytes(content)

    # --- what is rewritten

    def some(self, data: st.DataObject) -> tuple[str, list[str]]:
        """Return some files of a day."""
        day = data.draw(st.sampled_from(DAYS))
        files = [file.name for file in list_files(self.store.storage, day_folder(day)).files]
        return day, data.draw(st.lists(st.sampled_from(files), unique=True)) if files else []

    @rule(data=st.data())
    def rewrite(self, data: st.DataObject) -> None:
        """Make one of some files."""
        rewrite(self.store, *self.some(data))

    @rule(data=st.data())
    def rewrite_slowly(self, data: st.DataObject) -> None:
        """Begin where there is no lock; the file appears at some later time."""
        store = Store(self.elsewhere, self.store.spool, self.store.spill)
        with contextlib.suppress(_WaitingError):
            rewrite(store, *self.some(data))

    @precondition(lambda self: self.elsewhere.waiting)
    @rule()
    def appear(self) -> None:
        """Let a file appear that was begun earlier."""
        self.elsewhere.appear()

    @precondition(lambda self: not self.elsewhere.waiting)
    @rule(data=st.data(), all_of_them=st.booleans())
    def erase(self, data: st.DataObject, all_of_them: bool) -> None:
        """Take spans out of some files, or all of them."""
        day, files = self.some(data)
        there = {one for name in files for one in ids_in(self.store.storage, name)}
        gone = there if all_of_them else {one for one in there if int(one, 16) % 2}

        def keep(table: pa.Table) -> pa.Table:
            kept: Any = pc.is_in(table["span_id"], pa.array(sorted(gone), pa.string()))
            return table.filter(pc.invert(kept))

        if files:
            rewrite(self.store, day, files, keep)
            self.ids -= gone

    @precondition(lambda self: not self.elsewhere.waiting)
    @rule()
    def compact(self) -> None:
        """Compact everything."""
        compact(self.store, grace_s=GRACE_S)

    # --- time, and those who read

    @rule()
    def pass_time(self) -> None:
        """No file takes longer to appear, and no reader to read, than the grace."""
        while self.elsewhere.waiting:
            self.elsewhere.appear()
        for reader in [reader for reader in self.readers if reader.age[0] + STEP_S >= GRACE_S]:
            self.read_on(reader)
        for reader in self.readers:
            reader.age[0] += STEP_S
        for file in self.store.storage.walk("spans"):
            path = self.store.storage.path(file.name)
            os.utime(path, (file.modified - STEP_S, file.modified - STEP_S))

    @rule()
    def remove(self) -> None:
        """Remove what has been replaced for long enough."""
        remove_replaced(self.store, GRACE_S)

    @rule()
    def open(self) -> None:
        """List the store, to read it later."""
        self.readers.append(Reader(snapshot(self.store), sorted(self.ids), [0.0]))

    @precondition(lambda self: self.readers)
    @rule()
    def read_later(self) -> None:
        """Read what was listed."""
        self.read_on(self.readers[0])

    def read_on(self, reader: Reader) -> None:
        """Read what a reader has listed: it is what was there then."""
        self.readers.remove(reader)
        assert counted(self.store, reader.found) == reader.ids

    @invariant()
    def every_span_counts_once(self) -> None:
        """Read everything."""
        if hasattr(self, "ids"):
            assert counted(self.store) == sorted(self.ids)
            assert snapshot(self.store).listing.problems == []


Upkeep.TestCase.settings = settings(max_examples=300 if TORTURE else 40, stateful_step_count=30)
TestUpkeep = Upkeep.TestCase


# --- without locks


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store")


def begun(store: Store, files: list[str], change: Callable[[pa.Table], pa.Table] | None = None) -> Unhurried:
    """Begin to rewrite files where there are no locks, and stop before the new one appears."""
    place = Unhurried(store.root)
    with pytest.raises(_WaitingError):
        rewrite(Store(place, store.spool, store.spill), DAYS[0], files, change)
    return place


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_that_rewrite_the_same_file_one_counts(store: Store, first: int):
    ids = sorted(set().union(*(add_file(store) for _ in range(3))))
    a, b, c = (file.name for file in list_files(store.storage).files)
    both = [begun(store, [a, b]), begun(store, [b, c])]
    new = {both[first].appear()}
    assert counted(store) == ids
    reader = snapshot(store)
    new |= {both[1 - first].appear()}
    assert counted(store) == ids
    assert remove_replaced(store, GRACE_S).files == 0
    assert counted(store, reader) == ids
    listing = list_files(store.storage)
    assert len([file.name for file in listing.files if file.name in new]) == 1
    assert len([file.name for file in listing.replaced if file.name in new]) == 1
    assert remove_replaced(store, 0).files == 3
    assert counted(store) == ids
    compact(store, grace_s=0)
    assert counted(store) == ids
    assert len(list_files(store.storage).files) == 1


def test_of_two_at_once_the_one_that_changes_spans_counts(store: Store):
    add_file(store)
    (name,) = (file.name for file in list_files(store.storage).files)
    add_file(store)
    other = begun(store, [file.name for file in list_files(store.storage).files])
    changing = begun(store, [name], lambda table: table.slice(0, 1))
    changing.appear()
    assert len(counted(store)) == 4
    other.appear()
    assert len(counted(store)) == 4


def test_a_file_that_appears_too_late_never_counts_again(store: Store):
    ids = sorted(add_file(store) | add_file(store))
    files = [file.name for file in list_files(store.storage).files]
    late = begun(store, files)
    compact(store, grace_s=0)
    ids = sorted({*ids, *add_file(store)})
    compact(store, grace_s=0)
    assert len(list_files(store.storage).files) == 1
    name = late.appear()
    listing = list_files(store.storage)
    assert [file.name for file in listing.replaced] == [name]
    assert counted(store) == ids


def test_who_is_late_notices_before_the_file_appears(store: Store):
    add_file(store)
    add_file(store)
    files = [file.name for file in list_files(store.storage).files]

    def slowly(table: pa.Table) -> pa.Table:
        compact(store)  # another, meanwhile
        return table.slice(1)

    with pytest.raises(OutdatedError):
        rewrite(store, DAYS[0], files, slowly)
    assert len(counted(store)) == 6
    with pytest.raises(OutdatedError):
        rewrite(store, DAYS[0], files)


# --- deaths, and what is left of files


def test_what_is_rewritten_again_and_again_stays_for_readers(store: Store):
    ids = sorted(add_file(store) | add_file(store))
    reader = snapshot(store)
    for _ in range(3):
        compact(store)
        add_file(store)
        for file in store.storage.walk("spans"):
            os.utime(store.storage.path(file.name), (file.modified - 1000, file.modified - 1000))
    assert counted(store, reader) == ids
    assert remove_replaced(store, GRACE_S).files == 0
    assert remove_replaced(store, 2500).files == 2  # what the first one has replaced, though the others name it too
    assert remove_replaced(store, 1500).files == 2


def test_a_spool_that_outlived_its_file_brings_nothing_back(store: Store):
    path, ids = add_spool(store, days=DAYS)
    content = path.read_bytes()
    recover(store)
    for day in DAYS:
        rewrite(store, day, [file.name for file in list_files(store.storage, day_folder(day)).files], lambda t: t[:1])
    assert remove_replaced(store, 0).files == 2
    kept = counted(store)
    assert len(kept) == 2
    path.write_bytes(content)
    assert counted(store) == kept
    recover(store)
    assert counted(store) == kept
    assert set(kept) < ids


def test_what_is_erased_to_the_last_span_stays_away(store: Store):
    path, _ = add_spool(store)
    content = path.read_bytes()
    recover(store)
    (file,) = list_files(store.storage).files
    done = rewrite(store, DAYS[0], [file.name], lambda table: table[:0])
    assert (done.files, done.rows_before, done.rows_after) == (1, 3, 0)
    assert counted(store) == []
    assert remove_replaced(store, 0).files == 1
    path.write_bytes(content)
    assert counted(store) == []
    recover(store)
    assert counted(store) == []


def test_a_file_without_spans_goes_after_a_month(store: Store):
    add_file(store)
    (file,) = list_files(store.storage).files
    empty = rewrite(store, DAYS[0], [file.name], lambda table: table[:0]).name
    assert empty is not None
    path = Path(store.storage.path(empty))
    old = path.stat().st_mtime - 31 * 86_400
    os.utime(path, (old, old))
    assert remove_replaced(store, GRACE_S).files == 1  # what it replaced
    assert [found.name for found in list_files(store.storage).files] == [empty]
    assert remove_replaced(store, GRACE_S).files == 1
    assert list(store.storage.walk("spans")) == []


def test_a_change_that_changes_nothing_writes_nothing(store: Store):
    add_file(store)
    add_file(store)
    files = [file.name for file in list_files(store.storage).files]
    done = rewrite(store, DAYS[0], files, lambda table: table)
    assert (done.name, done.files, done.rows_before) == (None, 0, 6)
    assert [file.name for file in list_files(store.storage).files] == files


def test_a_rewritten_file_that_cannot_be_read_hides_nothing_and_removes_nothing(store: Store):
    ids = sorted(add_file(store) | add_file(store))
    compact(store)
    (file,) = list_files(store.storage).files
    assert is_rewritten(file.name)
    path = Path(store.storage.path(file.name))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    listing = list_files(store.storage)
    assert [line.partition(": ")[0] for line in listing.problems] == [str(path)]
    assert counted(store) == ids
    assert remove_replaced(store, 0).files == 0
    path.write_bytes(whole)
    assert counted(store) == ids


class Refusing(FolderStorage):
    """A place that does not let rewritten files be read for now."""

    def open(self, name: str) -> IO[bytes]:
        """Open other files only."""
        if is_rewritten(name):
            raise PermissionError(errno.EACCES, "not now", name)
        return super().open(name)


def test_nothing_is_written_or_removed_while_it_is_uncertain_what_counts(store: Store):
    add_file(store)
    add_file(store)
    compact(store)
    left, _ = add_spool(store)
    refused = Store(Refusing(store.root), store.spool, store.spill)
    before = list_files(store.storage)
    for upkeep in (recover, remove_replaced, compact, lambda at: rewrite(at, DAYS[0], [before.files[0].name])):
        with pytest.raises(PermissionError):
            upkeep(refused)
    assert list_files(store.storage) == before
    assert left.exists()


def test_names_of_rewritten_files_go_on_counting(store: Store):
    for number in range(1, 4):
        add_file(store)
        add_file(store)
        compact(store, grace_s=0)
        (file,) = list_files(store.storage).files
        assert stem_of(file.name).startswith(f"{number:08d}-")
        assert day_of(file.name) == DAYS[0]
