"""Our own failures: logged once per kind and place, counted always, never raised into the application."""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter

_log = logging.getLogger("turnledger")
_log.addHandler(logging.NullHandler())
_lock = threading.RLock()  # a finalizer may count in the middle of counting
_counts: Counter[str] = Counter()
_highs: dict[str, float] = {}
_logged: set[str] = set()


def count(kind: str, amount: int = 1) -> None:
    """Count something that was lost, cut or odd, such as ``"capture.body_cut"``."""
    with _lock:
        _counts[kind] += amount


def high(kind: str, value: float) -> None:
    """Keep the highest value of something, such as ``"worker.queued"``."""
    if value > _highs.get(kind, 0):
        with _lock:
            _highs[kind] = max(value, _highs.get(kind, 0))


def failed(kind: str, error: BaseException) -> None:
    """Count a failure of ours and log it, with its traceback, the first time this kind of error occurs."""
    try:
        count(kind)
        key = f"{kind}:{type(error).__name__}"
        with _lock:
            first = key not in _logged
            _logged.add(key)
        if first:
            _log.warning(
                "turnledger: %s failed (%s); the application is not affected. Logged once, then only counted.",
                kind,
                type(error).__name__,
                exc_info=error,
            )
    except Exception:  # noqa: BLE001, S110  a broken log handler of the application must not reach its call
        pass


def snapshot() -> dict[str, int]:
    """Return the counts since the process began, by kind."""
    with _lock:
        return dict(_counts)


def highs() -> dict[str, float]:
    """Return the highest values since the process began, by kind."""
    with _lock:
        return dict(_highs)


def reset() -> None:
    """Forget all counts and what was logged (for tests and after a fork)."""
    with _lock:
        _counts.clear()
        _highs.clear()
        _logged.clear()


def _after_fork() -> None:
    global _lock  # noqa: PLW0603  another thread of the parent may have held it when it forked
    _lock = threading.RLock()
    reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
