"""Compaction: many small files of a day become few large ones, sorted by time, while reading goes on (``snapshot``).

A day with nothing to gain is left alone, so that compacting again changes nothing.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import pyarrow as pa

from .footers import Footer, footer_of, not_ours
from .rewriting import (
    GRACE_S,
    OutdatedError,
    Removed,
    StoreBusyError,
    remove_replaced,
    rewrite,
    upkeep,
)
from .rolling import recover
from .snapshot import list_files
from .store import SPANS, day_folder, day_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .rewriting import Rewritten
    from .storage import Found
    from .store import Store

SMALL_BYTES: Final = 64 << 20
"""A file is small below this size, as it is on disk."""

MANY_FILES: Final = 64
"""So many small files of a day are compacted without being asked to."""

_ROUNDS: Final = 8
"""More than a day needs that nobody else is working on."""


class Limits(NamedTuple):
    """What one file holds at most: bytes on disk, bytes before compression, spans. All are in memory at once."""

    size: int
    uncompressed: int
    rows: int


LARGE: Final = Limits(256 << 20, 512 << 20, 500_000)
GENTLE: Final = Limits(16 << 20, 32 << 20, 25_000)
"""In an application, which has other uses for its memory."""


@dataclass
class CompactReport:
    """What a compaction has done.

    Attributes:
        written: files written, each in place of several.
        replaced: how many these are.
        rows: spans in them.
        removed: replaced files whose time had come, and what dead writers had left.
        left: a line for each file, or day, that was left alone.
    """

    written: int = 0
    replaced: int = 0
    rows: int = 0
    removed: Removed = field(default_factory=Removed)
    left: list[str] = field(default_factory=list[str])

    def add(self, done: Rewritten) -> None:
        """Count what became of some files."""
        for line in done.left:
            self.leave(line)
        if done.name is not None:
            self.written += 1
            self.replaced += done.files
            self.rows += done.rows_after

    def leave(self, line: str) -> None:
        """Say of something, once, that it was left alone."""
        if line not in self.left:
            self.left.append(line)


def compact(
    store: Store,
    *,
    day: str | None = None,
    grace_s: float = GRACE_S,
    progress: Callable[[int, int], object] = lambda _done, _of: None,
) -> CompactReport:
    """Make Parquet of what the dead have left, large files of small ones, and remove those replaced before.

    Args:
        store: the store.
        day: only this day, ``YYYY-MM-DD``; default all.
        grace_s: how long replaced files stay for readers that listed the store before; 0 only where nobody reads.
        progress: told how many of the days are done, out of how many.

    Raises:
        StoreBusyError: if another upkeep is at work on the store.
        OSError: if it cannot be read or written; what is done by then stays done.
    """
    report = CompactReport()
    with upkeep(store):
        for line in recovered(store):
            report.leave(line)
        days = sorted({day_of(file.name) for file in list_files(store.storage, _below(day)).certain().files})
        for done, one in enumerate(days):
            progress(done, len(days))
            _compact_day(store, one, LARGE, report)
        progress(len(days), len(days))
        report.removed = remove_replaced(store, grace_s)
    return report


def _below(day: str | None) -> str:
    return SPANS if day is None else day_folder(day)


def recovered(store: Store) -> list[str]:
    """Make Parquet of the spools that the dead have left; returns a line if that cannot be done for now."""
    try:
        recover(store)
    except OSError as error:  # it stays in the spool, where readers find it
        return [f"what is in the spool stays there for now: {error}"]
    return []


def compact_some(store: Store, now: float | None = None) -> CompactReport:
    """Compact today and yesterday, where a great many small files have come together and nobody else is at it.

    Cheap where there is nothing to do: the two days are listed. Works in little memory.

    Args:
        store: the store.
        now: Unix time; default the present.

    Raises:
        OSError: if the store cannot be read or written.
    """
    report = CompactReport()
    today = datetime.fromtimestamp(time.time() if now is None else now, UTC)
    for day in (f"{today:%Y-%m-%d}", f"{today - timedelta(days=1):%Y-%m-%d}"):
        if sum(file.size < SMALL_BYTES for file in store.storage.walk(day_folder(day))) <= MANY_FILES:
            continue
        try:
            with upkeep(store, wait_s=0):
                if len(_small(list_files(store.storage, day_folder(day)).certain().files)) > MANY_FILES:
                    _compact_day(store, day, GENTLE, report)
                report.removed = remove_replaced(store, day=day)
        except StoreBusyError:
            continue
        pa.default_memory_pool().release_unused()
    return report


def _compact_day(store: Store, day: str, limits: Limits, report: CompactReport) -> None:
    """Rewrite files of a day in groups, until there is no group any more that is worth it."""
    for _ in range(_ROUNDS):
        with contextlib.suppress(OutdatedError):
            if not _compact_groups(store, day, limits, report):
                return
    report.leave(f"{store.storage.path(day_folder(day))}: left for now, another upkeep is at work there")


def _compact_groups(store: Store, day: str, limits: Limits, report: CompactReport) -> bool:
    """Rewrite what can become one file; returns whether anything could."""
    files = list_files(store.storage, day_folder(day)).certain().files
    written = report.written
    for group in _groups(store, _small(files), limits, report):
        report.add(rewrite(store, day, group))
    return report.written > written


def _small(files: Iterable[Found]) -> list[Found]:
    return [file for file in files if file.size < SMALL_BYTES]


def _groups(store: Store, files: Iterable[Found], limits: Limits, report: CompactReport) -> list[list[str]]:
    """Return the names of files that can become one, each with its neighbours."""
    groups: list[list[str]] = []
    total = Limits(0, 0, 0)
    for file in files:
        footer = _footer(store, file, report)
        if footer is None:
            continue
        with_it = Limits(total.size + file.size, total.uncompressed + footer.uncompressed, total.rows + footer.rows)
        if not groups or any(value > limit for value, limit in zip(with_it, limits, strict=True)):
            groups.append([])
            with_it = Limits(file.size, footer.uncompressed, footer.rows)
        groups[-1].append(file.name)
        total = with_it
    return [group for group in groups if len(group) > 1]


def _footer(store: Store, file: Found, report: CompactReport) -> Footer | None:
    try:
        footer = footer_of(store.storage, file.name)
        refusal = not_ours(footer)
    except ValueError as error:
        footer, refusal = None, str(error)
    if refusal is None:
        return footer
    report.leave(f"{store.storage.path(file.name)}: left as it is, {refusal}")
    return None
