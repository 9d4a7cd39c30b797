"""One entry of a HAR recording as an exchange."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, cast

from .exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Mapping

EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Recorders that know no time write 1970; no provider answered before this."""

_STATUS_END: Final = 1000
_LONGEST_MS: Final = 7 * 24 * 3_600_000
"""A recorder that says it took longer has counted something else."""


def is_har_entry(value: object) -> bool:
    """Tell whether a value is an entry of a HAR recording: a request with method and URL, and a response."""
    if not isinstance(value, dict):
        return False
    fields = cast("Mapping[str, Any]", value)
    request, response = fields.get("request"), fields.get("response")
    return isinstance(request, dict) and isinstance(response, dict) and {"method", "url"} <= request.keys()


def to_exchange(entry: dict[str, Any]) -> Exchange:
    """Return the exchange of a HAR entry.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: if the entry is not one.
    """
    request, response = entry["request"], entry["response"]
    started = _started(entry, response)
    elapsed = float(entry.get("time") or 0)
    ended = started + int(elapsed * 1e6) if started is not None and 0 < elapsed < _LONGEST_MS else started
    post: dict[str, Any] = request.get("postData") or {}
    content: dict[str, Any] = response.get("content") or {}
    status = _status(response.get("status"))
    return Exchange.build(
        method=str(request["method"]),
        url=str(request["url"]),
        request_headers=_headers(request),
        request_body=_bytes(post.get("text"), post.get("encoding")),
        status_code=status or None,
        response_headers=_headers(response),
        response_body=_bytes(content.get("text"), content.get("encoding")),
        started_ns=started,
        ended_ns=ended,
        error_type=None if status else "no_response",
    )


def _status(value: Any) -> int:
    """Return a status, 0 for none; by way of a float: a number of few digits may stand for one of a billion."""
    status = float(value or 0)
    return int(status) if 0 < status < _STATUS_END else 0


def _headers(message: dict[str, Any]) -> list[tuple[str, str]]:
    headers: list[dict[str, Any]] = message.get("headers") or []
    return [(str(header["name"]), str(header["value"])) for header in headers]


def _bytes(text: Any, encoding: Any) -> bytes:
    if not text:
        return b""
    if encoding == "base64":
        return base64.b64decode("".join(text.split()), validate=True)
    return str(text).encode("utf-8", "replace")


def _started(entry: dict[str, Any], response: dict[str, Any]) -> int | None:
    """Return when the exchange began: as recorded, else by the response's date header, else None."""
    said = [entry.get("startedDateTime")]
    said += [value for name, value in _headers(response) if name.lower() == "date"]
    for text in said:
        moment = moment_of(str(text or ""))
        if moment is not None and moment > EARLIEST:
            return int(moment.timestamp() * 1_000_000) * 1000
    return None


def moment_of(text: str) -> datetime | None:
    """Return the moment that a text says, in ISO 8601 or as HTTP headers have it; without a zone it is UTC."""
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = parse(text)
        except ValueError:
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None
