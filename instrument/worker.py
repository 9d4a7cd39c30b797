"""The one background thread: captures become facts, facts become spans, ended spans are exported in batches.

Its queue is bounded, in items and in bytes. When it is full, the work is done inline by whoever brings it: slower for
that caller, but nothing is dropped. A body too large for that is left out, after ``BLOCK_S`` at most. After a fork the
child starts with an empty queue and a thread of its own; what the parent had queued stays the parent's.
"""

from __future__ import annotations

import os
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from . import health

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_QUEUED: Final = 10_000
MAX_QUEUED_BYTES: Final = 128 << 20
MAX_INLINE_BYTES: Final = 256 << 10
"""A larger body takes too long to read on a thread of the application."""

MAX_COLLECTED: Final = 100_000
"""Spans kept while an exporter hangs; the oldest beyond are dropped and counted."""

BLOCK_S: Final = 0.05
"""How long a call of the application waits for us at most."""

BATCH_SIZE: Final = 512
PAUSE_S: Final = 0.05
"""How long an idle worker lets an item lie. Its answer has just come: the application is at work on it, and two threads
share one interpreter. What else comes in meanwhile is handled with it."""

_STOP: Final = object()

_here: Final = threading.local()
_alive: WeakSet[Worker] = WeakSet()


class Worker:
    """Handles submitted items in the background, and flushes what they made at least every ``interval_s`` seconds.

    Args:
        handle: turns one item into spans (through ``collect``); its failures are counted, not raised.
        export: takes a batch of what was collected.
        interval_s: how long a collected item waits at most; 0 hands on each item at once, and has whoever brings it
            wait for that (``BLOCK_S`` at most).
    """

    def __init__(
        self, handle: Callable[[Any], None], export: Callable[[Sequence[Any]], None], interval_s: float
    ) -> None:
        self._handle, self._export, self._interval_s = handle, export, interval_s
        self._wait_s = BLOCK_S
        self._reset()
        _alive.add(self)

    def _reset(self) -> None:
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._queued_bytes = 0
        self._room = threading.Condition()
        self._collected: list[Any] = []
        self._lock = threading.Lock()
        self._export_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._hurry = threading.Event()
        self._stopped = False

    def after_fork(self) -> None:
        """Start anew in a forked child: what was queued belongs to the parent, which still has it."""
        self._reset()

    def submit(self, item: Any) -> None:
        """Queue an item, or handle it here and now where that cannot be; never raises."""
        running = (self._thread is not None or self._start()) and not self._stopped
        weight: int = getattr(item, "weight", 0)
        if running and (self._has_room(weight) or (weight > MAX_INLINE_BYTES and self._room_within(BLOCK_S, weight))):
            self._put(item, weight)
            return
        health.count("worker.inline")
        if running and weight > MAX_INLINE_BYTES:
            health.count("worker.bodies_left_out")
            item.leave_out_bodies()
        self._safely(item)
        if not running:
            self._flush()  # nobody else will

    def _put(self, item: Any, weight: int) -> None:
        if weight:
            with self._room:
                self._queued_bytes += weight
        self._queue.put(item)
        health.high("worker.queued", self._queue.qsize())
        if not self._interval_s:
            self.flush(self._wait_s)

    def _has_room(self, weight: int) -> bool:
        free = self._queued_bytes + weight <= MAX_QUEUED_BYTES or not self._queued_bytes
        return free and self._queue.qsize() < MAX_QUEUED

    def _room_within(self, timeout_s: float, weight: int) -> bool:
        with self._room:
            return self._room.wait_for(lambda: self._has_room(weight), timeout_s)

    def _taken_out(self, item: Any) -> None:
        weight: int = getattr(item, "weight", 0)
        if weight:
            with self._room:
                self._queued_bytes -= weight
                self._room.notify_all()

    def collect(self, made: Any) -> None:
        """Keep something for the next batch."""
        with self._lock:
            self._collected.append(made)
            over = len(self._collected) > MAX_COLLECTED
            if over:
                del self._collected[0]
        if over:
            health.count("worker.lost_spans")

    def _start(self) -> bool:
        with self._lock:
            if self._thread is None and not self._stopped:
                thread = threading.Thread(target=self._run, name="turnledger", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # no more threads, or the interpreter is shutting down
                    health.failed("worker.start", error)
                    return False
                self._thread = thread
        return self._thread is not None

    def _next(self, due: float) -> Any:
        """Return the next item, None if there was none until ``due``."""
        try:
            return self._queue.get_nowait()
        except Empty:
            pass
        try:
            # Nothing collected: nothing is due, and an idle application is not woken.
            item = self._queue.get(timeout=max(0.0, due - time.monotonic())) if self._collected else self._queue.get()
        except Empty:
            return None
        if self._interval_s and not isinstance(item, threading.Event) and item is not _STOP:
            self._hurry.wait(PAUSE_S)
        return item

    def _run(self) -> None:
        due = time.monotonic() + self._interval_s
        while True:
            item = self._next(due)
            if item is _STOP:
                return
            if isinstance(item, threading.Event):
                self._hurry.clear()
                self._flush()
                item.set()
            elif item is not None:
                if not self._collected:
                    due = time.monotonic() + self._interval_s
                self._taken_out(item)
                self._safely(item)
            if self._collected and (len(self._collected) >= BATCH_SIZE or time.monotonic() >= due):
                self._flush()
                due = time.monotonic() + self._interval_s

    def is_handling(self) -> bool:
        """Tell whether this thread is in the middle of handling an item."""
        return getattr(_here, "worker", None) is self

    def _safely(self, item: Any) -> None:
        _here.worker = self
        try:
            self._handle(item)
        except Exception as error:  # noqa: BLE001  one bad exchange must not stop the books
            health.failed("worker.handle", error)
        finally:
            _here.worker = None

    def _flush(self) -> None:
        with self._export_lock:
            with self._lock:
                batch, self._collected = self._collected, []
            if batch:
                try:
                    self._export(batch)
                except Exception as error:  # noqa: BLE001
                    health.failed("worker.export", error)
                    health.count("worker.lost_spans", len(batch))

    def write_at_once(self, wait_s: float) -> None:
        """Hand on each item at once from now on, and have whoever brings it wait for that, ``wait_s`` at most."""
        self._interval_s, self._wait_s = 0.0, wait_s

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything submitted so far is exported; returns whether that was done in time."""
        if self._thread is None or not self._thread.is_alive():
            self._drain()
            return True
        done = threading.Event()
        self._hurry.set()
        self._queue.put(done)
        return done.wait(timeout_s)

    def stop(self, timeout_s: float) -> None:
        """Export what is there and end the thread; later items are handled inline."""
        finished = self.flush(timeout_s)
        self._stopped = True
        if self._thread is not None and finished:
            self._queue.put(_STOP)
            self._thread.join(timeout_s)
            self._drain()

    def _drain(self) -> None:
        while True:
            try:
                item = self._queue.get_nowait()
            except Empty:
                break
            if isinstance(item, threading.Event):
                item.set()
            elif item is not _STOP:
                self._taken_out(item)
                self._safely(item)
        self._flush()


def _after_fork() -> None:
    for worker in list(_alive):
        worker.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
