"""A lock on an open file, held while a living process has it open: the system takes it back after kill -9."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator

if sys.platform == "win32":
    import msvcrt

    def try_lock(descriptor: int) -> bool:
        """Take the lock; returns whether nobody else has it."""
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """Take the lock; returns whether nobody else has it.

        Raises:
            OSError: if the file system has no locks.
        """
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return False
            raise
        return True


_held: Final[set[int]] = set()


def keep_from_children(descriptor: int) -> int:
    """Have an open file closed in children forked from now on, where its lock would outlive us; ``close`` ends that."""
    _held.add(descriptor)
    return descriptor


def close(descriptor: int) -> None:
    """Close a file that was kept from children, unless this is such a child."""
    if descriptor in _held:
        _held.discard(descriptor)
        os.close(descriptor)


@contextlib.contextmanager
def released_in_children(descriptor: int) -> Generator[None]:
    """Close an open file at the end, and at once in a child forked meanwhile: else its lock would outlive us there."""
    keep_from_children(descriptor)
    try:
        yield
    finally:
        close(descriptor)


def _release() -> None:
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release)
