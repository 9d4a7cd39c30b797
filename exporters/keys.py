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
from .bucket import in_time
from .storage import FolderStorage, UnavailableError
from .store import META

if TYPE_CHECKING:
    from .storage import Storage
    from .store import Store

KEY_FILE: Final = f"{META}/digest.key"
KEY_S: Final = 3.0
"""How long a store elsewhere is waited for: whoever records calls goes on without it."""

_TEXT: Final = re.compile(rb"([0-9a-f]{64})\s*")


class KeyFileError(Exception):
    """A store's key file holds no key; the text says which and what to do."""


def digest_key(store: Store) -> DigestKey:
    """Return the key of a store's digests, a new one where the store has none.

    Raises:
        KeyFileError: if the file holds something else.
        OSError: if it can neither be read nor made.
    """
    return _key_in_time(store) if store.is_remote else _key(store)


def _key(store: Store) -> DigestKey:
    with contextlib.suppress(FileNotFoundError):
        return read_key(store)
    with contextlib.suppress(FileExistsError):  # another process was first: its key is the store's
        _publish(store.storage, secrets.token_bytes(32), anew=True)
    return read_key(store)


def _publish(storage: Storage, secret: bytes, *, anew: bool = False) -> None:
    storage.publish(KEY_FILE, lambda file: file.write(secret.hex().encode() + b"\n"), anew=anew)


def _key_in_time(store: Store) -> DigestKey:
    """Return the key of a store elsewhere; from the copy of this machine where the store does not answer in time."""
    copy = FolderStorage(store.spool)
    try:
        key = in_time(lambda: _key(store), KEY_S)
    except OSError as error:  # TimeoutError too
        try:
            return _read(copy)
        except (OSError, KeyFileError):
            raise UnavailableError(f"the key of message digests cannot be read: {error}") from None
    with contextlib.suppress(OSError, KeyFileError):
        store.guard_spool()
        if not copy.exists(KEY_FILE) or _read(copy) != key:
            _publish(copy, key.secret)
    return key


def read_key(store: Store) -> DigestKey:
    """Return the key of a store's digests.

    Raises:
        KeyFileError: if the file holds something else.
        FileNotFoundError: if there is none.
        OSError: if it cannot be read.
    """
    return _read(store.storage)


def _read(storage: Storage) -> DigestKey:
    with storage.open(KEY_FILE) as file:
        found = _TEXT.fullmatch(file.read(1024))
    if found is None:
        raise KeyFileError(
            f"{storage.path(KEY_FILE)} is not a key of message digests (64 hexadecimal digits): put it back from "
            "a backup, or delete it to begin with a new key; calls recorded from then on are not stitched to earlier "
            "ones by their messages"
        )
    return DigestKey.of(bytes.fromhex(found[1].decode()))
