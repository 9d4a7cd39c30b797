"""What crossed the wire in one HTTP attempt: the single input of extraction, live or imported.

Credentials never enter an Exchange: ``Exchange.build`` drops them from headers and URL before anything else sees them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Headers = tuple[tuple[str, str], ...]

_SECRET_WORD: Final = re.compile(
    r"(?:^|[-_.])(?:authorization|authentication|auth|token(?![-_.]count)|key|apikey|secret|cookie2?|credentials?|"
    r"passw(?:or)?d|signature|sig|session-info|jwt|assertion|client-params|csrf|xsrf)(?:$|[-_.])",
    re.IGNORECASE,
)
_NOT_SECRET: Final = frozenset({"idempotency-key", "x-idempotency-key", "prompt-cache-key"})
_QUERY_VALUE: Final = re.compile(r"[A-Za-z0-9_.:,*/-]{1,128}")
REDACTED: Final = "<redacted>"


@lru_cache(maxsize=4096)  # the same headers come with every call
def is_secret_name(name: str) -> bool:
    """Tell whether a header, query or body field of this name holds a credential."""
    return name.lower() not in _NOT_SECRET and _SECRET_WORD.search(name) is not None


def clean_headers(headers: Iterable[tuple[str, str]]) -> Headers:
    """Return the headers in order, names in lower case, without any that can hold a credential."""
    return tuple((name.lower(), value) for name, value in headers if not is_secret_name(name))


def clean_url(url: str) -> str:
    """Return the URL without user info and fragment, query values kept only where they cannot be a credential."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = [
        (name, value if not is_secret_name(name) and _QUERY_VALUE.fullmatch(value) else REDACTED)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    ]
    return urlunsplit((parts.scheme, host, parts.path, urlencode(query, safe="<>:/*,"), ""))


@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP attempt. Bodies are decoded bytes (no content encoding); times are Unix nanoseconds, None if unknown.

    ``request_body`` is None where it could not be read: the client sent it as a stream of the application's.
    """

    method: str
    url: str
    request_headers: Headers
    request_body: bytes | None
    status_code: int | None
    response_headers: Headers
    response_body: bytes
    started_ns: int | None = None
    ended_ns: int | None = None
    first_chunk_ns: int | None = None
    error_type: str | None = None
    closed_early: bool = False
    body_cut: bool = False

    def with_request_headers(self, keeps: Callable[[str], bool]) -> Exchange:
        """Return the exchange with those request headers only that are to be kept."""
        kept = tuple(header for header in self.request_headers if keeps(header[0]))
        return self if kept == self.request_headers else replace(self, request_headers=kept)

    @classmethod
    def build(  # noqa: PLR0913  an exchange has that many parts; all are named
        cls,
        *,
        method: str,
        url: str,
        request_headers: Iterable[tuple[str, str]] = (),
        request_body: bytes | None = b"",
        status_code: int | None = None,
        response_headers: Iterable[tuple[str, str]] = (),
        response_body: bytes = b"",
        started_ns: int | None = None,
        ended_ns: int | None = None,
        first_chunk_ns: int | None = None,
        error_type: str | None = None,
        closed_early: bool = False,
        body_cut: bool = False,
    ) -> Exchange:
        """Return an exchange without credentials in its headers and URL."""
        return cls(
            method=method.upper(),
            url=clean_url(url),
            request_headers=clean_headers(request_headers),
            request_body=request_body,
            status_code=status_code,
            response_headers=clean_headers(response_headers),
            response_body=response_body,
            started_ns=started_ns,
            ended_ns=ended_ns,
            first_chunk_ns=first_chunk_ns,
            error_type=error_type,
            closed_early=closed_early,
            body_cut=body_cut,
        )
