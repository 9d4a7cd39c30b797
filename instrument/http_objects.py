"""The response objects of HTTP clients as exchanges, told by what they have: a status, headers, a body, their request.

A body that the application has not read yet is not read here: it is the application's, and reading may wait or block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

from .exchange import Exchange

_WRAPPED: Final = ("http_response", "_response", "response")
"""Where SDKs keep the HTTP response behind a raw response or a stream of theirs."""

_STATUS: Final = ("status_code", "status")
_BODIES: Final = ("content", "_body", "_content", "data", "body")


def is_http_response(value: object) -> bool:
    """Tell whether a value is the response object of an HTTP client."""
    return _status(value) is not None and pairs(getattr(value, "headers", None)) is not None


def http_response_behind(value: object) -> object | None:
    """Return the HTTP response that a value is or that an SDK's raw response or stream wraps; None if there is none."""
    if isinstance(value, str | bytes | Mapping):
        return None
    # What wraps a response often shows its status and headers too, but not its request.
    candidates = (*(_attribute(value, name) for name in _WRAPPED), value)
    return next((found for found in candidates if found is not None and is_http_response(found)), None)


def exchange_of(response: object) -> Exchange:
    """Return the exchange of an HTTP client's response whose body was read.

    Raises:
        TypeError: if the body was not read yet.
    """
    body = _body(response)
    if body is None:
        kind = f"{type(response).__module__}.{type(response).__qualname__}"
        raise TypeError(f"the body of this {kind} was not read yet: read it, then pass the response")
    request = _attribute(response, "request") or _attribute(response, "request_info")
    return Exchange.build(
        method=str(_attribute(request, "method") or _attribute(response, "method") or ""),
        url=str(_attribute(request, "url") or _attribute(response, "url") or ""),
        request_headers=pairs(_attribute(request, "headers")) or (),
        request_body=_request_body(request),
        status_code=_status(response),
        response_headers=pairs(getattr(response, "headers", None)) or (),
        response_body=body,
    )


def pairs(headers: object) -> list[tuple[str, str]] | None:
    """Return headers of any kind (a mapping, pairs, gRPC metadata) as pairs of texts, None if they are none."""
    items: Any = None
    for name in ("multi_items", "items"):
        method: Callable[[], Iterable[Any]] | None = getattr(headers, name, None)
        if callable(method):
            items = list(method())
            break
    if items is None and isinstance(headers, list | tuple):
        items = cast("list[Any]", headers)
    if items is None or not all(isinstance(item, tuple) and len(cast("tuple[Any]", item)) == 2 for item in items):  # noqa: PLR2004
        return None
    found = [(_text(name), value) for name, value in items]
    return [(name, text) for name, value in found if (text := _text(value)) and name]


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, cast("list[Any]", value)))
    return str(value) if isinstance(value, str | int) else ""


def _status(response: object) -> int | None:
    found = (getattr(response, name, None) for name in _STATUS)
    return next((int(status) for status in found if isinstance(status, int)), None)


def _body(response: object) -> bytes | None:
    """Return the body that was read, None if none was."""
    if _attribute(response, "_content_consumed") is False:  # asking would read it from the network
        return None
    return next((_bytes(body) for name in _BODIES if isinstance(body := _attribute(response, name), bytes | str)), None)


def _request_body(request: object) -> bytes | None:
    if request is None or not (hasattr(type(request), "content") or hasattr(request, "body")):
        return None
    bodies = [_attribute(request, name) for name in ("content", "body")]
    known = next((body for body in bodies if isinstance(body, bytes | str)), None)
    if known is None:
        return b"" if getattr(request, "body", "") is None else None
    return _bytes(known)


def _bytes(body: bytes | str) -> bytes:
    return body.encode("utf-8", "replace") if isinstance(body, str) else body


def _attribute(value: object, name: str) -> Any:
    """Return an attribute, None where asking for it fails: what was not read yet or never set raises."""
    if isinstance(value, Mapping):
        return None
    try:
        return getattr(value, name, None)
    except Exception:  # noqa: BLE001  every client has its own
        return None
