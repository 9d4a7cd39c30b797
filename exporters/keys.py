"""The key of a store's message digests: made on first use, kept in ``meta/``, the same for every process.

Digests of different keys never match. Without the key, calls recorded later are not stitched to earlier ones; what was
stitched before stays.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from typing import TYPE_CHECKING, Final

from ..instrument.digests import DigestKey
from .store import META

if TYPE_CHECKING:
    from .store import Store

KEY_FILE: Final = f"{META}/digest.key"
_TEXT: Final = re.compile(rb"([0-9a-f]{64})\s*")


class KeyFileError(Exception):
    """A store's key file holds no key; the text says which and what to do."""


def digest_key(store: Store) -> DigestKey:
    """Return the key of a store's digests, a new one where the store has none.

    Raises:
        KeyFileError: if the file holds something else.
        OSError: if it can neither be read nor made.
    """
    with contextlib.suppress(FileNotFoundError):
        return read_key(store)
    text = secrets.token_hex(32).encode() + b"\n"
    with contextlib.suppress(FileExistsError):  # another process was first: its key is the store's
        store.storage.publish(KEY_FILE, lambda file: file.write(text), anew=True)
    return read_key(store)


def read_key(store: Store) -> DigestKey:
    """Return the key of a store's digests.

    Raises:
        KeyFileError: if the file holds something else.
        FileNotFoundError: if there is none.
        OSError: if it cannot be read.
    """
    with store.storage.open(KEY_FILE) as file:
        found = _TEXT.fullmatch(file.read(1024))
    if found is None:
        raise KeyFileError(
            f"{store.storage.path(KEY_FILE)} is not a key of message digests (64 hexadecimal digits): put it back from "
            "a backup, or delete it to begin with a new key; calls recorded from then on are not stitched to earlier "
            "ones by their messages"
        )
    return DigestKey.of(bytes.fromhex(found[1].decode()))
