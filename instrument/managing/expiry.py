"""Telling by an exception of any SDK, its status and its codes, that the provider no longer has a state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from ..wire import loads

if TYPE_CHECKING:
    from ..continuing import ContinuingRules

_CODE_KEYS: Final = frozenset({"code", "type", "status", "Code"})
_STATUS_NAMES: Final = ("status_code", "http_status", "code")
_BEHIND: Final = ("response", "raw_response", "http_response")
_MAX_DEPTH: Final = 4
_ERROR_FROM: Final = 400


def is_expired(error: BaseException, rules: ContinuingRules) -> bool:
    """Tell whether an error says that what the request went on from is no longer there."""
    return _status(error) in rules.expired_status or not rules.expired_codes.isdisjoint(_codes(error))


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of an SDK's exception, None where it has none."""
    carriers: list[Any] = [error, *(getattr(error, name, None) for name in _BEHIND)]
    for carrier in carriers:
        for name in _STATUS_NAMES:
            value = getattr(carrier, name, None)
            if isinstance(value, int) and value >= _ERROR_FROM:
                return value
        if isinstance(carrier, Mapping):  # where an SDK hands out the response as a dict
            fields = cast("Mapping[str, Any]", carrier)
            value = cast("Mapping[str, Any]", fields.get("ResponseMetadata") or {}).get("HTTPStatusCode")
            if isinstance(value, int):
                return value
    return None


def _codes(error: BaseException) -> set[str]:
    """Return the words by which an exception and its body name the error."""
    found = {value for name in ("code", "type") if isinstance(value := getattr(error, name, None), str)}
    for name in ("body", "details", "response", "data"):
        found.update(_words(_document(getattr(error, name, None)), 0))
    return found


def _document(value: Any) -> Any:
    if isinstance(value, str | bytes):
        try:
            return loads(value.encode() if isinstance(value, str) else value)
        except ValueError:
            return None
    return value


def _words(node: Any, depth: int) -> Iterator[str]:
    if not isinstance(node, Mapping) or depth > _MAX_DEPTH:
        return
    for key, value in cast("Mapping[str, Any]", node).items():
        if key in _CODE_KEYS and isinstance(value, str):
            yield value
        yield from _words(value, depth + 1)
