"""Writing what is left before SIGTERM ends a process that does not handle it.

The system's own way with SIGTERM leaves no time for anything. Where, and only where, the application has left it at
that, a handler writes what is left and then lets the signal do what it did before: the process ends by SIGTERM.
An application that sets its own handler replaces this one, and ends by Python's way out, which writes as well.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

TERMINATION_S: Final = 1.0
"""How long the end of the process is put off at most."""

_write: Callable[[], object] | None = None


def before_termination(write: Callable[[], object] | None) -> None:
    """Have ``write`` called before SIGTERM ends this process and its forked children; None takes that back."""
    global _write  # noqa: PLW0603  there is one capture in a process
    _write = write
    with contextlib.suppress(ValueError):  # not the main thread: handlers are not ours to set there
        if write is not None and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _terminate)
        elif write is None and signal.getsignal(signal.SIGTERM) == _terminate:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, _frame: FrameType | None) -> None:
    # On a thread of its own: what this one holds, in the middle of whatever it was doing, must not stop it for ever.
    # And by the low-level call: the thread interrupted may have been starting one.
    done = threading.Event()
    if _write is not None:
        with contextlib.suppress(RuntimeError):  # no more threads
            _thread.start_new_thread(_run, (_write, done))
            done.wait(TERMINATION_S)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _run(write: Callable[[], object], done: threading.Event) -> None:
    try:
        write()
    finally:
        done.set()
