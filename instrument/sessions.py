"""The id of an SDK's session object: where it stands is said by the provider documents (``session_id`` of an SDK).

Only the attributes named there are read, those of all documents in turn: an application's own class that follows an
SDK's protocol has them too. An object that has none of them is given an id of ours, for as long as it lives.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, cast
from uuid import UUID, uuid4

from . import health
from .documents import session_paths

_MADE: Final = "turnledger-"
_MISSING: Final = object()

# By identity: objects that are equal are not the same session, and some have no hash.
_made: dict[int, tuple[weakref.ref[object], str]] = {}


def session_id(session: object) -> str | None:
    """Return the id of a session, None if it has none. Never raises.

    A text, a number or a UUID is the id itself. An object that will have an id of its own but has none yet (the
    provider or the SDK gives it with the first answer) has none now. One that has no place for an id is given one,
    which it keeps as long as it lives; if nothing can tell how long that is (lists, dicts, classes with slots), it has
    none, since an id for each use would tear the conversation apart: its calls are joined by their messages.

    Args:
        session: an SDK's session object, or an id.
    """
    try:
        if session is None or isinstance(session, bool):
            return None
        return _text(session) or _own_id(session)
    except Exception as error:  # noqa: BLE001  objects are the application's: what they do when read, we cannot know
        health.failed("session.id", error)
        return None


def _text(value: object) -> str | None:
    if isinstance(value, str | int | UUID) and not isinstance(value, bool):
        return str(value) or None
    return None


def _own_id(session: object) -> str | None:
    has_place = isinstance(session, str)  # an empty one
    for path in session_paths():
        value: object = session
        for step in path:
            value = _attribute(value, step)
        if (found := _text(value)) is not None:
            return found
        has_place = has_place or value is not _MISSING
    return None if has_place else _made_id(session)


def _attribute(node: object, name: str) -> object:
    if node is None or node is _MISSING:
        return _MISSING
    if isinstance(node, Mapping):
        return cast("Mapping[str, Any]", node).get(name, _MISSING)
    try:
        return getattr(node, name)
    except AttributeError:
        return _MISSING
    except Exception:  # noqa: BLE001  some raise until the provider has given the id
        return None


def _made_id(session: object) -> str | None:
    key = id(session)
    try:
        made = (weakref.ref(session, partial(_forget, key)), f"{_MADE}{uuid4()}")
    except TypeError:
        health.count("session.without_id")
        return None
    # Without a lock: a dictionary's own steps are whole, and what dies while one is held would wait for it for ever.
    known = _made.setdefault(key, made)
    if known[0]() is not session:
        known = _made[key] = made
    return known[1]


def _forget(key: int, reference: weakref.ref[object]) -> None:
    known = _made.get(key)
    if known is not None and known[0] is reference:  # another object may have the place by now
        _made.pop(key, None)
