"""Erasure: the spans of a conversation or user go, and every mention of it in others; then everything is searched.

What waits in spools becomes Parquet first: spools of the dead at once, those of living processes by their own doing.
All replaced files go at once, too: whoever has listed the store before opens it again.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .footers import damage_as_value_error
from .rewriting import GRACE_S, OutdatedError, Removed, remove_replaced, rewrite, upkeep
from .rolling import recover
from .schema import SPAN_SCHEMA
from .snapshot import PARQUET, list_files
from .spool import ASKED, read_spool, spool_files
from .storage import FILE_MODE
from .store import META, SPANS, day_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from .mentions import Mention
    from .storage import Found
    from .store import Store

    Whose = Callable[[], Collection[str]]

_compute: Final = cast("Any", pc)  # the stubs know few of the types that it takes

_ROUNDS: Final = 3
"""So often it is erased again what was recorded, or compacted by somebody without locks, meanwhile."""

_LITTER_S: Final = 60.0
"""An unfinished file that nobody has written to for this long has no writer any more."""

_POLL_S: Final = 0.05


@dataclass
class EraseReport:
    """What erasure has done, and what it found when it searched everything at last.

    Attributes:
        spans: spans that are gone.
        changed: spans of others that mentioned it, and do not any more.
        removed: files that were removed.
        files: how many files were searched.
        searched: how many spans were in them.
        remaining: a line for each place where it still is, or where that cannot be told. None: it is gone.
    """

    spans: int = 0
    changed: int = 0
    removed: Removed = field(default_factory=Removed)
    files: int = 0
    searched: int = 0
    remaining: list[str] = field(default_factory=list[str])


def erase(store: Store, mention: Mention, whose: Whose, *, wait_s: float = 30.0) -> EraseReport:
    """Take spans out of a store, and every mention of an identifier out of the others; search for it then.

    Args:
        store: the store.
        mention: the identifier.
        whose: returns the ids of the spans that are to go, by what is in the store at that moment.
        wait_s: how long to wait for living processes to let go of their spools.

    Raises:
        StoreBusyError: if another upkeep is at work on the store.
        OSError: if it cannot be read or written. What is done by then stays done: erase again.
    """
    report = EraseReport()
    deadline = time.monotonic() + wait_s
    with upkeep(store):
        for _ in range(_ROUNDS):
            gone = set(whose())
            _settle(store, mention, gone, deadline)
            if not _erase_once(store, mention, gone, report):
                break
        report.removed = remove_replaced(store, 0, litter_s=_LITTER_S)
        _search(store, mention, set(whose()), report)
    return report


def _settle(store: Store, mention: Mention, gone: Collection[str], deadline: float) -> None:
    """Have spools become Parquet, those of living processes only where there is anything to erase in them.

    And have files that are being written appear: what is in them cannot be seen before.
    """
    recover(store)
    waiting = [path for path in _spools(store) if any(_to_erase(_read(path), mention, gone))]
    while (waiting or any(store.storage.litter())) and time.monotonic() < deadline:
        for path in waiting:
            with contextlib.suppress(OSError):
                path.with_suffix(ASKED).touch(FILE_MODE)
        time.sleep(_POLL_S)
        recover(store)
        remove_replaced(store, GRACE_S, litter_s=_LITTER_S)
        waiting = [path for path in waiting if path.exists()]


def _spools(store: Store) -> list[Path]:
    return [path for folder in store.spools for path in spool_files(folder)]


def _read(path: Path) -> list[pa.RecordBatch]:
    try:
        return read_spool(path.read_bytes()).batches
    except FileNotFoundError:  # it has become Parquet
        return []


def _to_erase(batches: list[pa.RecordBatch], mention: Mention, gone: Collection[str]) -> Iterator[int]:
    """Yield how much there is to erase in each batch with anything."""
    for batch in batches:
        if found := _compute.sum(_is_in(batch, gone)).as_py() or len(mention.rows(batch)):
            yield found


def _is_in(spans: Any, gone: Collection[str]) -> Any:
    return _compute.is_in(spans.column("span_id"), value_set=pa.array(list(gone), pa.string()))


def _erase_once(store: Store, mention: Mention, gone: Collection[str], report: EraseReport) -> bool:
    """Rewrite the files with anything to erase; returns whether there were any."""
    before = report.spans, report.changed
    outdated = False
    for file in list_files(store.storage).certain().files:
        change = _Change(mention, gone)
        try:
            done = rewrite(store, day_of(file.name), [file.name], change.made)
        except OutdatedError:
            outdated = True
            continue
        if done.name is not None:
            report.spans += done.rows_before - done.rows_after
            report.changed += change.changed
    return outdated or before != (report.spans, report.changed)


class _Change:
    """What becomes of the spans of a file; ``changed`` counts those that are kept in another form."""

    def __init__(self, mention: Mention, gone: Collection[str]) -> None:
        self._mention, self._gone = mention, gone
        self.changed = 0

    def made(self, table: pa.Table) -> pa.Table:
        """Return the spans that stay, as they stay; the very table where that is all of it."""
        kept = table.filter(_compute.invert(_is_in(table, self._gone)))
        parts = [SPAN_SCHEMA.empty_table()]
        for batch in kept.to_batches():
            found = self._mention.rows(batch)
            same = [row not in found for row in range(batch.num_rows)]
            parts.append(pa.Table.from_batches([batch.filter(pa.array(same))]))
            parts.append(pa.Table.from_pylist(list(found.values()), schema=SPAN_SCHEMA))
            self.changed += len(found)
        return pa.concat_tables(parts) if self.changed or kept.num_rows < table.num_rows else table


# --- the proof


def _search(store: Store, mention: Mention, gone: Collection[str], report: EraseReport) -> None:
    """Search everything there is of a store for what is to be gone."""
    for path in _spools(store):
        batches = _read(path)
        report.searched += sum(batch.num_rows for batch in batches)
        report.files += 1
        if found := sum(_to_erase(batches, mention, gone)):
            owner = path.stem.split("-")[1]
            report.remaining.append(
                f"{path}: {found} spans, and process {owner} does not let go of them: end it, and erase again"
            )
        elif _in_raw(path, mention):
            report.remaining.append(f"{path}: in what is damaged or torn of it")
    for file in (*store.storage.walk(SPANS), *store.storage.walk(META), *store.storage.litter()):
        with contextlib.suppress(FileNotFoundError):
            report.files += 1
            if said := _in_file(store, file, mention, gone, report):
                report.remaining.append(f"{store.storage.path(file.name)}: {said}")


def _in_raw(path: Path, mention: Mention) -> bool:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return False
    reading = read_spool(data)
    return bool(reading.torn or reading.damaged) and mention.in_bytes(data)


def _in_file(store: Store, file: Found, mention: Mention, gone: Collection[str], report: EraseReport) -> str | None:
    """Return what is to be said of a file: it still has something, or cannot be searched."""
    if file.refused is not None:
        return f"it is not searched: {file.refused}"
    try:
        with store.storage.open(file.name) as opened, damage_as_value_error():
            if file.name.endswith(PARQUET) and file.name.startswith(f"{SPANS}/"):
                found = 0
                for batch in pq.ParquetFile(opened).iter_batches():
                    report.searched += batch.num_rows
                    found += sum(_to_erase([batch], mention, gone))
                return f"{found} spans" if found else None
            if file.name.endswith(PARQUET):
                return (
                    "a mention" if mention.in_bytes(repr(pq.ParquetFile(opened).read().to_pylist()).encode()) else None
                )
            if file.name.startswith(f"{META}/"):
                return "a mention" if mention.in_bytes(opened.read()) else None
    except ValueError as error:
        return f"it cannot be searched, {error}"
    return "it cannot be searched, it is being written: erase again when it is done"
