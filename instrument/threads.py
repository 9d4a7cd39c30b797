"""Which call of this process a new one continues: answers seen lately, by their digests, within a size in bytes.

What is not found here (another process, an answer long ago) is found by the ledger when it is read.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import WeakSet

from . import health
from .digests import DigestKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from .digests import Thread

MAX_BYTES: Final = 16 * 1024 * 1024
_ENTRY_BYTES: Final = 640
"""What an answer takes here, its digest and ids included: measured, and rounded up."""
_MAX_ALIKE: Final = 8
"""Answers kept under one digest: the same words after the same words, by the same application."""

_alive: WeakSet[Threads] = WeakSet()


class Known(NamedTuple):
    """A call that was answered: whose it was, where it belongs, and whether another call went on with it."""

    call_id: str
    conversation: str
    user: str | None
    is_continued: bool = False


class Found(NamedTuple):
    """The call that is continued, the conversation it is in, and how many calls it might have been."""

    call_id: str
    conversation: str
    candidates: int


class ThreadIndex:
    """The answers of this process that may be continued, the oldest forgotten first. Safe to use from many threads.

    Args:
        max_bytes: about how much memory it may take.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._room = max_bytes // _ENTRY_BYTES
        self._answers: OrderedDict[str, list[Known]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._size

    def continued(self, thread: Thread, user: str | None) -> Found | None:
        """Return the call that a call of ``user`` continues, None if none is known here.

        Of several calls with the same words, one that nobody went on with comes first, then the latest. Two users that
        the application tells apart are never one conversation.
        """
        with self._lock:
            for digest in thread.prefixes:
                alike = self._answers.get(digest, ())
                fitting = [known for known in alike if user is None or known.user is None or known.user == user]
                if fitting:
                    self._answers.move_to_end(digest)
                    chosen = next((known for known in reversed(fitting) if not known.is_continued), fitting[-1])
                    self._mark(digest, chosen)
                    return Found(chosen.call_id, chosen.conversation, len(fitting))
        return None

    def _mark(self, digest: str, chosen: Known) -> None:
        alike = self._answers[digest]
        alike[alike.index(chosen)] = chosen._replace(is_continued=True)

    def answered(self, thread: Thread, known: Known) -> None:
        """Remember the answers of a call."""
        with self._lock:
            for digest in thread.answers:
                alike = self._answers.setdefault(digest, [])
                self._answers.move_to_end(digest)
                alike.append(known)
                self._size += 1
                if len(alike) > _MAX_ALIKE:
                    alike.pop(0)
                    self._size -= 1
            while self._size > self._room and self._answers:
                _, forgotten = self._answers.popitem(last=False)
                self._size -= len(forgotten)


class Threads:
    """What stitching needs in a process: the key of digests, looked up on first use, and the index of answers.

    Args:
        source: returns the key of the store; None where spans go elsewhere, which have a key of this process alone.
    """

    def __init__(self, source: Callable[[], DigestKey] | None = None) -> None:
        self.index = ThreadIndex()
        self._source = source
        self._key: DigestKey | None = None
        _alive.add(self)

    def after_fork(self) -> None:
        """Start anew in a forked child: the lock may have been taken, and what was seen is the parent's."""
        self.index = ThreadIndex()

    def key(self) -> DigestKey:
        """Return the key; where the store's cannot be had, one of this process, and the failure is counted."""
        if self._key is None:
            try:
                self._key = self._source() if self._source is not None else _own_key()
            except Exception as error:  # noqa: BLE001  calls are recorded with or without the store's key
                health.failed("digests.key", error)
                self._key = _own_key()
        return self._key


def _own_key() -> DigestKey:
    return DigestKey.of(secrets.token_bytes(32))


def _after_fork() -> None:
    for threads in list(_alive):
        threads.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
