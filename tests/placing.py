"""Paths turned round: a value is put where extraction would look for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from turnledger.instrument.paths import Path


class DoesNotFitError(Exception):
    """The document already has a value of another shape there."""


def placed(node: Any, path: Path, value: Any) -> Any:
    """Return ``node`` with ``value`` at ``path``.

    Raises:
        DoesNotFitError: if something of another shape stands in the way.
    """
    if not path:
        if node is not None and (isinstance(node, dict | list) or isinstance(value, dict | list)):
            raise DoesNotFitError
        return value
    step, rest = path[0], path[1:]
    if step.startswith("["):
        key, _, kind = step[1:-1].partition("=")
        if key and isinstance(node, dict) and node.get(key, kind) == kind:
            return placed({**node, key: kind}, rest, value)
        if not isinstance(node, list | None):
            raise DoesNotFitError
        items = list(node or ())
        place = next((n for n, item in enumerate(items) if not key or item.get(key) == kind), len(items))
        old = items[place] if place < len(items) else ({key: kind} if key else None)
        items[place : place + 1] = [placed(old, rest, value)]
        return items
    if not isinstance(node, dict | None):
        raise DoesNotFitError
    step = "any" if step == "*" else step
    return {**(node or {}), step: placed((node or {}).get(step), rest, value)}
