"""The key of a store's message digests: made on first use, kept in ``meta/``, the same for every process.

Digests of different keys never match. Without the key, calls recorded later are not stitched to earlier ones; what was
stitched before stays.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from typing import TYPE_CHECKING, Final

from ..instrument.digests import DigestKey

if TYPE_CHECKING:
    from pathlib import Path

    from .store import Store

KEY_FILE: Final = "digest.key"
_TEXT: Final = re.compile(rb"([0-9a-f]{64})\s*")


class KeyFileError(Exception):
    """A store's key file holds no key; the text says which and what to do."""


def digest_key(store: Store) -> DigestKey:
    """Return the key of a store's digests, a new one where the store has none.

    Raises:
        KeyFileError: if the file holds something else.
        OSError: if it can neither be read nor made.
    """
    path = store.meta / KEY_FILE
    with contextlib.suppress(FileNotFoundError):
        return read_key(path)
    store.meta.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{KEY_FILE}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(32).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first: its key is the store's
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return read_key(path)


def read_key(path: Path) -> DigestKey:
    """Return the key in a file.

    Raises:
        KeyFileError: if it holds something else.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        found = _TEXT.fullmatch(file.read(1024))
    if found is None:
        raise KeyFileError(
            f"{path} is not a key of message digests (64 hexadecimal digits): put it back from a backup, or delete it "
            "to begin with a new key; calls recorded from then on are not stitched to earlier ones by their messages"
        )
    return DigestKey.of(bytes.fromhex(found[1].decode()))
