"""Writing what is left where a process ends without its exit handlers: the children of ``multiprocessing``.

A forked child of a pool ends by ``os._exit`` as soon as its finalizers have run (CPython's
``multiprocessing/process.py``, ``BaseProcess._bootstrap``); handlers of ``atexit`` are never called there. It begins by
forgetting the finalizers of its parent, so ours is made anew behind that. Nothing is imported for this: a process that
has such children, or is one, has the module already.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_MODULE: Final = "multiprocessing.util"
_PRIORITY: Final = 0
"""After the finalizers of others, which may still call a provider."""


class _Leaving:
    """What is done before the process ends."""

    def __init__(self, write: Callable[[], object]) -> None:
        self.write = write


_leaving: _Leaving | None = None


def before_leaving(write: Callable[[], object] | None) -> None:
    """Have ``write`` called before this process and its forked children end; None calls nothing."""
    global _leaving  # noqa: PLW0603  there is one capture in a process
    _leaving = None if write is None else _Leaving(write)
    if _leaving is not None:
        _finalize(_leaving)


def _finalize(leaving: _Leaving) -> None:
    util: Any = sys.modules.get(_MODULE)
    if util is not None:
        util.Finalize(None, _leave, args=(leaving,), exitpriority=_PRIORITY)


def _leave(leaving: _Leaving) -> None:
    if leaving is _leaving:
        leaving.write()


def _after_fork() -> None:
    util: Any = sys.modules.get(_MODULE)
    if util is not None and _leaving is not None:
        util.register_after_fork(_leaving, _finalize)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
