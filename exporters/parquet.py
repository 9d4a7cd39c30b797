"""The exporter: ended spans into a store's spool, and from there into Parquet. It works in any OpenTelemetry pipeline.

export → records in memory (``holding``) → this process's spool (``spool``) → Parquet (``rolling``)
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Final, Literal, get_args
from weakref import WeakSet

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ..instrument import health
from .batches import span_batches
from .compacting import compact_some
from .holding import Holding, Records
from .keys import digest_key
from .reporting import HealthReport
from .rolling import recover
from .spool import ASKED, ROLL_BYTES, SpoolFile, batch_record
from .storage import make_private
from .store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from opentelemetry.sdk.trace import ReadableSpan

    from ..instrument.digests import DigestKey

Durability = Literal["batch", "span", "disk"]
HELD_BYTES: Final = 64 << 20
ROLL_AFTER_S: Final = 300.0
BLOCK_S: Final = 0.05
"""How long whoever brings spans waits at most, where each is to be on disk before it goes on."""

_LOOK_S: Final = 1.0
_MAX_RECORD: Final = 256 << 20
_END_S: Final = 5.0
_alive: WeakSet[ParquetSpanExporter] = WeakSet()


class ParquetSpanExporter(SpanExporter):
    """Appends spans to a spool as they come, and makes Parquet of it in the background.

    Args:
        store: a folder, or an address such as ``s3://bucket/prefix``; default ``TURNLEDGER_STORE``, else
            ``./turnledger-data``.
        durability: ``"batch"`` returns at once, a thread writes; ``"span"`` waits until the system has the spans,
            ``"disk"`` until the disk has them; 50 ms at most.
        held_bytes: memory for spans that cannot be written for now; what is over is spilled to the machine's temporary
            folder and taken from there later, last of all dropped and counted.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | None = None,
        *,
        durability: Durability = "batch",
        held_bytes: int = HELD_BYTES,
    ) -> None:
        if durability not in get_args(Durability):
            raise ValueError(f"no durability {durability!r}: it is one of {', '.join(get_args(Durability))}")
        self.store = Store.at(store)
        self.durability: Durability = durability
        self._report = HealthReport()
        self._holding = Holding(self._append, self._spill, held_bytes, self._look, _LOOK_S)
        self._reset()
        _alive.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._spool: SpoolFile | None = None
        self._opened_at = 0.0
        self._spill_lock = threading.Lock()
        self._spilled: SpoolFile | None = None
        self._roll_lock = threading.Lock()
        self._rolling: threading.Thread | None = None
        self._roll_again = False
        self._ended = False

    def after_fork(self) -> None:
        """Start anew in a forked child: what is held, and the spool, are the parent's."""
        self._holding.reset()
        self._report.reset()
        self._reset()

    def digest_key(self) -> DigestKey:
        """Return the key of the store's message digests, made on first use.

        Raises:
            KeyFileError: if the key file holds something else.
            OSError: if it can neither be read nor made.
        """
        return digest_key(self.store)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take spans; they are written as soon as the store takes them, whatever is returned here."""
        for batch in span_batches(spans):
            for records in _records(batch):
                self._holding.put(records)
        if self.durability != "batch" and not self._holding.wait(BLOCK_S):
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def write_at_once(self) -> None:
        """Have ``export`` return when the spans are in the spool, from now on."""
        if self.durability == "batch":
            self.durability = "span"

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until everything exported is in the spool, or in the store if that is remote; returns whether it is.

        A spool is on this machine's disk, and that may be gone with the process, as where functions run as a service.
        """
        deadline = time.monotonic() + timeout_millis / 1000
        written = self._holding.wait(timeout_millis / 1000)
        return written and (not self.store.is_remote or self._finish(deadline))

    def shutdown(self) -> None:
        """Write what is left, and make Parquet of it, as far as that is done in time."""
        deadline = time.monotonic() + _END_S
        self._ended = True
        self._holding.end(_END_S)
        self._finish(deadline)

    def _finish(self, deadline: float) -> bool:
        """Make Parquet of what is in the spool now, and wait for that; returns whether it is done."""
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            return False
        try:
            used = [file.path for file in (self._spool, self._spilled) if file is not None]
            self._set_aside()
        finally:
            self._lock.release()
        if used and (rolling := self._roll()) is not None:
            rolling.join(max(0.0, deadline - time.monotonic()))
        return not any(path.exists() for path in used)

    # --- on the store's thread

    def _append(self, records: Records) -> None:
        with self._lock:
            spool = self._spool or self._open()
            try:
                spool.append(*records)
            except FileNotFoundError as error:  # the store was removed; what comes from now on is kept
                health.failed("store.removed", error)
                self._close()
                self._open().append(*records)

    def _open(self) -> SpoolFile:
        self.store.guard_spool()
        self._spool = SpoolFile(self.store.spool, below=self.store.spool.parent, sync=self.durability == "disk")
        self._opened_at = time.monotonic()
        self._roll()  # what earlier processes have left
        return self._spool

    def _look(self) -> bool:
        """Set the spool aside when it is due; returns whether there is one to look after."""
        try:
            with self._lock:
                spool = self._spool
                if spool is None:
                    return False
                if spool.size >= ROLL_BYTES or time.monotonic() - self._opened_at >= ROLL_AFTER_S or _asked(spool):
                    self._set_aside()
                    self._roll()
        except OSError as error:
            health.failed("store.look", error)
        return True

    def _set_aside(self) -> None:
        """Close the files; whoever recovers next makes Parquet of them."""
        if self._spool is not None and (report := self._report.batch()) is not None:
            try:
                self._spool.append(batch_record(report), 1)
            except OSError as error:
                health.failed("store.report", error)
        self._close()
        with self._spill_lock:
            spilled, self._spilled = self._spilled, None
        if spilled is not None:
            spilled.close()

    def _close(self) -> None:
        spool, self._spool = self._spool, None
        if spool is not None:
            spool.close()

    def _roll(self) -> threading.Thread | None:
        """Make Parquet in the background of what nobody writes to; returns the thread that does."""
        with self._roll_lock:
            self._roll_again = True
            if self._rolling is None:
                thread = threading.Thread(target=self._recover, name="turnledger-roll", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is shutting down; whoever comes next does it
                    return None
                self._rolling = thread
            return self._rolling

    def _recover(self) -> None:
        while True:
            with self._roll_lock:
                if not self._roll_again:
                    self._rolling = None
                    return
                self._roll_again = False
            try:
                recover(self.store)
                if not (self._ended or self.store.is_remote):  # a remote one has no lock: all its processes would do it
                    compact_some(self.store)
            except Exception as error:  # noqa: BLE001  it stays in the spool, where readers find it
                health.failed("store.roll", error)

    # --- on the thread of whoever brings too much

    def _spill(self, records: Records) -> None:
        with self._spill_lock:
            if self._spilled is None:
                make_private(self.store.spill.parent)
                self._spilled = SpoolFile(self.store.spill, below=self.store.spill.parent)
            self._spilled.append(*records)
            if self._spilled.size >= ROLL_BYTES:
                self._spilled.close()
                self._spilled = None


def _records(batch: pa.RecordBatch) -> list[Records]:
    """Return a batch as records, none too large to be read in one piece."""
    if batch.nbytes > _MAX_RECORD and batch.num_rows > 1:
        half = batch.num_rows // 2
        return [*_records(batch.slice(0, half)), *_records(batch.slice(half))]
    return [Records(batch_record(batch), batch.num_rows)]


def _asked(spool: SpoolFile) -> bool:
    """Tell whether somebody has asked for the spool to become Parquet."""
    return spool.path.with_suffix(ASKED).exists()


def _after_fork() -> None:
    for exporter in list(_alive):
        exporter.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
