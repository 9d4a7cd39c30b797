"""Spans on their way to the spool: held in memory up to a bound, then spilled elsewhere, at last dropped and counted.

Whoever brings spans never writes to the store: one thread does, so that a file system that hangs stops nobody else.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from ..instrument import health

if TYPE_CHECKING:
    from collections.abc import Callable

RETRY_S: Final = (0.2, 5.0)
"""First and longest pause before a write that failed is tried again."""


class Records(NamedTuple):
    """Records of the spool, and how many spans they hold."""

    data: bytes
    rows: int


def _joined(together: list[Records]) -> Records:
    if len(together) == 1:
        return together[0]
    return Records(b"".join(one.data for one in together), sum(one.rows for one in together))


class Holding:
    """Hands what it is given to ``write``, in order, on a thread of its own.

    Args:
        write: writes records; raises OSError where it cannot, and is called again with the same later.
        spill: takes the oldest records when more than ``bound`` bytes are held; raises OSError where it cannot.
        bound: bytes held at most; what is over and cannot be spilled is dropped and counted.
        idle: called about every ``pause_s`` while nothing comes, and returns whether to call it again.
    """

    def __init__(
        self,
        write: Callable[[Records], None],
        spill: Callable[[Records], None],
        bound: int,
        idle: Callable[[], bool],
        pause_s: float,
    ) -> None:
        self._write, self._spill, self._bound, self._idle, self._pause_s = write, spill, bound, idle, pause_s
        self.reset()

    def reset(self) -> None:
        """Begin anew with nothing held, as in a forked child: what was held is the parent's, which still has it."""
        self._condition = threading.Condition()
        self._held: deque[tuple[int, Records]] = deque()
        self._bytes = self._taken = self._failures = 0
        self._being_written: int | None = None  # number of the first of those
        self._hurried = self._ended = False
        self._thread: threading.Thread | None = None

    def put(self, records: Records) -> None:
        """Take records to be written; never waits for the store, and never raises."""
        with self._condition:
            self._held.append((self._taken, records))
            self._bytes += len(records.data)
            self._taken += 1
            over = self._over()
            health.high("store.held_bytes", self._bytes)
            running = self._ended or self._start()
            self._condition.notify_all()
        if over:
            self._spill_all(over)
        if not running or self._ended:
            self._write_held()  # there is no thread for it

    def _over(self) -> list[Records]:
        """Take out the oldest records that are over the bound."""
        over: list[Records] = []
        while self._bytes > self._bound and len(self._held) > 1:
            over.append(self._held.popleft()[1])
            self._bytes -= len(over[-1].data)
        return over

    def _spill_all(self, over: list[Records]) -> None:
        for number, records in enumerate(over):
            try:
                self._spill(records)
            except Exception as error:  # noqa: BLE001  nothing of ours reaches whoever brings spans
                health.failed("store.spill", error)
                health.count("store.lost_spans", sum(lost.rows for lost in over[number:]))
                break
            health.count("store.spilled_spans", records.rows)
        with self._condition:
            self._condition.notify_all()

    def _start(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="turnledger-store", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no more threads, or the interpreter is shutting down
                health.failed("store.start", error)
                return False
            self._thread = thread
        return True

    def _run(self) -> None:
        pause = 0.0
        again = True
        while True:
            with self._condition:
                if pause:
                    self._condition.wait_for(lambda: self._hurried or self._ended, pause)
                elif not self._held and not self._ended:
                    self._condition.wait(self._pause_s if again else None)
                self._hurried = False
                if self._ended and (pause or not self._held):
                    return
            worked = self._write_held()
            pause = 0.0 if worked else min(max(pause * 2, RETRY_S[0]), RETRY_S[1])
            again = self._idle()

    def _write_held(self) -> bool:
        """Write everything held with one write; returns False if that failed, and it is held again."""
        with self._condition:
            taken, self._held = list(self._held), deque[tuple[int, Records]]()
            if not taken:
                return True
            self._being_written = taken[0][0]
        together = [records for _, records in taken]
        try:
            self._write(_joined(together))
        except Exception as error:  # noqa: BLE001  nothing of ours reaches the application
            health.failed("store.write", error)
            with self._condition:
                self._held.extendleft(reversed(taken))
                self._being_written = None
                self._failures += 1
                self._condition.notify_all()
            return False
        with self._condition:
            self._bytes -= sum(len(one.data) for one in together)
            self._being_written = None
            self._condition.notify_all()
        return True

    def wait(self, timeout_s: float) -> bool:
        """Wait until everything put so far is written, or spilled; returns whether it is.

        Where a try to write it fails meanwhile, there is no waiting for the next.
        """
        with self._condition:
            goal, failures = self._taken, self._failures
            self._hurried = True
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._is_done(goal) or self._failures > failures, timeout_s)
            return self._is_done(goal)

    def _is_done(self, goal: int) -> bool:
        first = self._held[0][0] if self._held else goal
        return first >= goal and (self._being_written is None or self._being_written >= goal)

    def end(self, timeout_s: float) -> bool:
        """Write what is held, spill what cannot be written, and end the thread; later records are written where put.

        Returns:
            Whether the thread has ended.
        """
        written = self.wait(timeout_s)
        with self._condition:
            self._ended = True
            self._condition.notify_all()
            left = [] if written else [records for _, records in self._held]
            if left:
                self._held.clear()
                self._bytes = 0
        if left:
            self._spill_all(left)
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self._thread is None or not self._thread.is_alive()
