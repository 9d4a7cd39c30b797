"""Which HTTP attempts are one call: the rule that makes a request the next attempt of a failed one.

A candidate is the same request (URL, body, conversation) sent by the same thread or task as the failure before it:
clients retry where they were called. What the wire offers decides:

- Clients that count their tries say so in a request header: one whose name ends in ``retry-count``, from zero, or one
  whose name ends in ``sdk-request``, as ``attempt=``, from one. A first try is a call of its own whatever failed before
  it: the application asked again. A later one is a further try.
- A client that does not count is judged by time: it waits as long as the server asked for (``retry-after``) and backs
  off for at most a minute. What comes later is the application asking again. An application's own loop that repeats at
  once looks the same as a client's, and is taken for one: the tries of one call.
- A redirect is followed at once, by the same body to the address it names: one call.
- A body that could not be read cannot be compared: without a count, it begins a call.
"""

from __future__ import annotations

import contextvars
import re
import time
from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import urljoin

RawHeaders = Iterable[tuple[bytes, bytes]]

_RETRYABLE: Final = frozenset({408, 409, 425, 429})
_REDIRECT: Final = frozenset({301, 302, 303, 307, 308})
_SERVER_ERROR: Final = 500
_BACK_OFF_NS: Final = 60 * 10**9
_LONGEST_WAIT_S: Final = 3600.0
_COUNT: Final = b"retry-count"
_ATTEMPT: Final = b"sdk-request"
_ATTEMPT_NUMBER: Final = re.compile(rb"\battempt=(\d{1,9})")
_WAITS: Final = {b"retry-after": 1.0, b"retry-after-ms": 0.001}


class Key(NamedTuple):
    """What two attempts of one call share.

    It outlives the call, in the memory of its thread or task: of the address, which may hold a credential, as of the
    body it is a hash.
    """

    url_hash: int
    body_hash: int | None
    conversation: str | None


class Place(NamedTuple):
    """Where an attempt stands: its call (span id of the first attempt) and its number, from 0."""

    call_id: int
    number: int


class _Failed(NamedTuple):
    key: Key
    counted: bool
    place: Place
    until_ns: int


_failed: contextvars.ContextVar[_Failed | None] = contextvars.ContextVar("turnledger_failed_attempt", default=None)


def any_failed() -> bool:
    """Tell whether the last attempt of this thread or task failed; if not, the next one begins a call."""
    return _failed.get() is not None


def place(key: Key, headers: RawHeaders, span_id: int) -> Place:
    """Return where the attempt of ``span_id`` stands."""
    before = _failed.get()
    if before is None or before.key != key or not _is_further_try(before, _retry_count(headers)):
        return Place(span_id, 0)
    return Place(before.place.call_id, before.place.number + 1)


def _is_further_try(before: _Failed, count: int | None) -> bool:
    if count is not None or before.counted:
        return bool(count)
    return before.key.body_hash is not None and time.perf_counter_ns() <= before.until_ns


def succeeded() -> None:
    """Forget the failure: whatever comes next begins a call."""
    if _failed.get() is not None:
        _failed.set(None)


def failed(key: Key, headers: RawHeaders, at: Place, response_headers: RawHeaders = ()) -> None:
    """Remember a failed attempt for the one that may follow it."""
    wait_ns = int(_asked_wait_s(response_headers) * 1e9) + _BACK_OFF_NS
    _failed.set(_Failed(key, _retry_count(headers) is not None, at, time.perf_counter_ns() + wait_ns))


def is_retryable(status_code: int) -> bool:
    """Tell whether clients try again after this status."""
    return status_code in _RETRYABLE or status_code >= _SERVER_ERROR


def is_redirect(status_code: int) -> bool:
    """Tell whether a status says that the answer is elsewhere."""
    return status_code in _REDIRECT


def redirected(url: str, headers: RawHeaders) -> str:
    """Return the address a redirect names, the request's own if it names none."""
    place = next((value for name, value in headers if name.lower() == b"location"), b"")
    return urljoin(url, place.decode("latin-1"))


def _retry_count(headers: RawHeaders) -> int | None:
    for name, value in headers:
        if name.lower().endswith(_COUNT) and value.isdigit():
            return int(value)
        if name.lower().endswith(_ATTEMPT) and (found := _ATTEMPT_NUMBER.search(value)):
            return int(found[1]) - 1
    return None


def _asked_wait_s(headers: RawHeaders) -> float:
    """Return how long the server asked to wait, 0 if it did not say (or named a date, which its clock decides)."""
    for name, value in headers:
        unit = _WAITS.get(name.lower())
        if unit is not None:
            try:
                return min(max(float(value) * unit, 0.0), _LONGEST_WAIT_S)
            except ValueError:
                continue
    return 0.0
