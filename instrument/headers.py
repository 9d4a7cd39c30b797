"""Which headers of a request are kept: those on a list. What an application or a proxy adds beside them is its own.

The list is short here and goes on in the provider documents: each header they name as an identifier's place, and those
under ``request_headers``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from .exchange import clean_value, is_document, is_secret_name

if TYPE_CHECKING:
    from collections.abc import Iterable

ORDINARY: Final = frozenset(
    {
        # what is sent, and what is asked for
        *("accept", "accept-encoding", "content-encoding", "content-length", "content-type", "host", "user-agent"),
        # what ties a request to others, in the names that clients and proxies share
        *("idempotency-key", "x-idempotency-key", "x-request-id", "request-id", "x-client-request-id"),
        *("x-correlation-id", "x-session-id", "x-conversation-id", "x-trace-id", "traceparent"),
        # what a generator of SDKs says of itself: versions, platform, retries
        *("x-stainless-arch", "x-stainless-async", "x-stainless-helper-method", "x-stainless-lang", "x-stainless-os"),
        *("x-stainless-package-version", "x-stainless-read-timeout", "x-stainless-retry-count"),
        *("x-stainless-runtime", "x-stainless-runtime-version", "x-stainless-stream-helper", "x-stainless-timeout"),
        *("x-fern-language", "x-fern-sdk-name", "x-fern-sdk-version"),
    }
)
_PLACE: Final = "request.header:"
_MAX_KNOWN: Final = 4096


class HeaderList:
    """The request headers that are kept.

    Args:
        names: further ones, in any case; none that can hold a credential is kept all the same.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = frozenset(name.lower() for name in (*ORDINARY, *names) if not is_secret_name(name))
        self._known: dict[bytes, bool] = {}

    def keeps(self, name: str) -> bool:
        """Tell whether a header of this name is kept."""
        return name.lower() in self.names

    def of_request(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return those of a request's headers that are kept."""
        known = self._known
        return [
            (name, value if b"?" not in value and b"@" not in value else _clean(value))
            for name, value in headers
            if (known[name] if name in known else self._look_up(name)) and not is_document(value)
        ]

    def _look_up(self, name: bytes) -> bool:
        kept = self.keeps(name.decode("latin-1"))
        if len(self._known) < _MAX_KNOWN:
            self._known[name] = kept  # the same headers come with every call
        return kept


_withheld: Final[dict[bytes, bool]] = {}


def of_response(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return a response's headers but those that can hold a credential."""
    return [
        (name, value if b"?" not in value and b"@" not in value else _clean(value))
        for name, value in headers
        if not (_withheld[name] if name in _withheld else _holds(name))
    ]


def _clean(value: bytes) -> bytes:
    return clean_value(value.decode("latin-1")).encode("latin-1", "replace")


def _holds(name: bytes) -> bool:
    secret = is_secret_name(name.decode("latin-1"))
    if len(_withheld) < _MAX_KNOWN:
        _withheld[name] = secret
    return secret


def named_places(front: object) -> Iterable[str]:
    """Yield the request headers that a document names as the place of something."""
    if isinstance(front, str):
        if front.startswith(_PLACE):
            yield front.removeprefix(_PLACE).partition("=")[0].partition("|")[0].strip()
    elif isinstance(front, dict | list):
        items = cast("dict[str, Any] | list[Any]", front)
        for item in items.values() if isinstance(items, dict) else items:
            yield from named_places(item)
