"""Retention: days that are old enough go, whole, or all of them but what figures are made of.

Days are those of UTC. Spans of unknown time are never old. A day is gone as soon as this is done: it is done in order
that things are gone, so that nobody who has listed the store before is waited for, unless that is asked for.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .compacting import recovered
from .footers import damage_as_value_error, footer_of
from .rewriting import OutdatedError, Removed, drop, remove_replaced, rewrite, upkeep
from .schema import SPAN_SCHEMA
from .snapshot import list_files
from .store import UNKNOWN_DATE, day_folder, day_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import date

    from .storage import Found, Storage
    from .store import Store

DETAILS: Final = ("request_id", "identifiers", "raw_usage", "raw_metadata", "content", "attributes")
"""Columns of a call that no figure is made of: neither its cost, nor what conversation and turn it is in."""


_BATCH: Final = 1 << 16


class Something(NamedTuple):
    """What there is to take from a file: spans that go, spans whose details go; the bytes of all that is in it."""

    spans: int
    stripped: int
    size: int


@dataclass
class PruneReport:
    """What pruning has done.

    Attributes:
        files: files something was taken from.
        spans: spans that are gone.
        stripped: spans that are kept, without their details.
        size: bytes of these files; with ``keep_costs`` what is kept takes some of them again.
        removed: files that were removed; those replaced, and what dead writers had left.
        left: a line for each file that was left alone, or day that another upkeep was at work on.
    """

    files: int = 0
    spans: int = 0
    stripped: int = 0
    size: int = 0
    removed: Removed = field(default_factory=Removed)
    left: list[str] = field(default_factory=list[str])

    def add(self, taken: Iterable[Something]) -> None:
        """Count what was taken from files."""
        for one in taken:
            self.files += 1
            self.spans += one.spans
            self.stripped += one.stripped
            self.size += one.size


def prune(  # noqa: PLR0913  options of one command, all of them named
    store: Store,
    before: date,
    *,
    keep_costs: bool = False,
    dry_run: bool = False,
    grace_s: float = 0.0,
    progress: Callable[[int, int], object] = lambda _done, _of: None,
) -> PruneReport:
    """Take the spans of old days out of a store.

    Args:
        store: the store.
        before: the first day that is kept as it is.
        keep_costs: keep what figures are made of: times, models, tokens, costs, conversations, users and tags. What
            goes are ``DETAILS``, and spans that are no calls.
        dry_run: change nothing, and say what would be done.
        grace_s: how long replaced files stay for readers that listed the store before.
        progress: told how many of the days are done, out of how many.

    Raises:
        StoreBusyError: if another upkeep is at work on the store.
        OSError: if it cannot be read or written; what is done by then stays done.
    """
    report = PruneReport()
    with contextlib.nullcontext() if dry_run else upkeep(store):
        if not dry_run:
            report.left += recovered(store)
        days = _old_days(store, before)
        for done, (day, files) in enumerate(days.items()):
            progress(done, len(days))
            found = _with_something(store, files, report, keep_costs=keep_costs)
            if found and not dry_run:
                _take(store, day, found, report, keep_costs=keep_costs)
            elif found:
                report.add(found.values())
        progress(len(days), len(days))
        if not dry_run:
            report.removed = remove_replaced(store, grace_s)
    return report


def _old_days(store: Store, before: date) -> dict[str, list[Found]]:
    days: dict[str, list[Found]] = {}
    for file in list_files(store.storage).certain().files:
        if UNKNOWN_DATE != (day := day_of(file.name)) < before.isoformat():
            days.setdefault(day, []).append(file)
    return days


def _with_something(
    store: Store, files: Iterable[Found], report: PruneReport, *, keep_costs: bool
) -> dict[str, Something]:
    """Return what is to be taken from each file there is anything in, by its name."""
    found: dict[str, Something] = {}
    for file in files:
        try:
            spans, stripped = _details(store.storage, file.name) if keep_costs else (_rows(store.storage, file.name), 0)
        except FileNotFoundError:  # another upkeep has replaced it
            continue
        except ValueError as error:
            report.left.append(f"{store.storage.path(file.name)}: left as it is, {error}")
            continue
        if spans or stripped:
            found[file.name] = Something(spans, stripped, file.size)
    return found


def _rows(storage: Storage, name: str) -> int:
    return footer_of(storage, name).rows


def _details(storage: Storage, name: str) -> tuple[int, int]:
    """Return how many spans of a file are no calls, and how many are calls with details."""
    others = detailed = 0
    with storage.open(name) as opened, damage_as_value_error():
        file = pq.ParquetFile(opened)
        columns = [column for column in ("call_id", *DETAILS) if column in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=_BATCH, columns=columns):
            calls = batch.column("call_id").is_valid()
            others += batch.num_rows - (calls.true_count or 0)
            detailed += pc.and_(calls, _any_valid(batch)).true_count
    return others, detailed


def _any_valid(batch: pa.RecordBatch) -> pa.BooleanArray:
    valid = [batch.column(name).is_valid() for name in DETAILS if name in batch.schema.names]
    return functools.reduce(pc.or_, valid)


def _take(store: Store, day: str, found: Mapping[str, Something], report: PruneReport, *, keep_costs: bool) -> None:
    """Take what there is out of files of a day: all of it at once, or of one file after the other."""
    for names in [[name] for name in found] if keep_costs else [list(found)]:
        try:
            done = rewrite(store, day, names, _without_details) if keep_costs else drop(store, day, names)
        except OutdatedError:
            report.left.append(f"{store.storage.path(day_folder(day))}: left for now, another upkeep is at work there")
            return
        report.left += done.left
        if done.name is not None:
            report.add(found[name] for name in names)


def _without_details(table: pa.Table) -> pa.Table:
    kept = table.filter(table["call_id"].is_valid()).drop_columns(list(DETAILS))
    return pa.concat_tables([SPAN_SCHEMA.empty_table(), kept], promote_options="default")
