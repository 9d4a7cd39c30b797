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
    r"passw(?:or)?d|passphrase|pwd|signature|sig|session-info|jwt|assertion|client-params|csrf|xsrf|"
    r"(?:access|api|auth|bearer|id|refresh|security|session)token|clientsecret|"
    r"(?:access|account|auth|master|private|secret|shared|subscription)key(?:id)?)(?:$|[-_.])",
    re.IGNORECASE,
)
_NEW_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NOT_SECRET: Final = frozenset({"idempotency-key", "x-idempotency-key", "prompt-cache-key"})
_QUERY_VALUE: Final = re.compile(r"[A-Za-z0-9_.:,*/-]{1,128}")
REDACTED: Final = "<redacted>"
_WORD: Final = re.compile(rf"(?:[^\s<>\"]|{REDACTED})+")
_USER: Final = re.compile(r"//[^/?#]*@")
_USERS: Final = 4
"""So often user info is looked for in a word: what has still more is no address."""


@lru_cache(maxsize=4096)  # the same headers come with every call
def is_secret_name(name: str) -> bool:
    """Tell whether a header, query or body field of this name holds a credential."""
    words = _NEW_WORD.sub("-", name)  # accessToken, X-AuthToken
    return words.lower() not in _NOT_SECRET and _SECRET_WORD.search(words) is not None


def clean_headers(headers: Iterable[tuple[str, str]]) -> Headers:
    """Return the headers in order, names in lower case, without any that can hold a credential."""
    return tuple((name.lower(), clean_value(value)) for name, value in headers if not is_secret_name(name))


def clean_value(value: str) -> str:
    """Return a header's value with its addresses as ``clean_url`` has them: a redirect's may be a signed one."""
    return _WORD.sub(_clean_word, value) if "?" in value or "@" in value else value


def _clean_word(word: re.Match[str]) -> str:
    text, mark, query = word[0].partition("?")
    for _ in range(_USERS):
        text, found = _USER.subn("//", text)
        if not found:
            break
    else:
        return REDACTED
    return f"{text}?{_clean_query(query.partition('#')[0])}" if "=" in query else text + mark + query


def _clean_query(query: str) -> str:
    kept = [
        (name, value if not is_secret_name(name) and _QUERY_VALUE.fullmatch(value) else REDACTED)
        for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    return urlencode(kept, safe="<>:/*,")


def is_document(value: str | bytes) -> bool:
    """Tell whether a header's value is JSON, plain or as base64: settings, which may hold anything."""
    head = value[:3] if isinstance(value, str) else value[:3].decode("latin-1")
    return head.startswith(("{", "[", "eyJ"))


def clean_url(url: str) -> str:
    """Return the URL without user info and fragment, query values kept only where they cannot be a credential.

    Raises:
        ValueError: if it is none.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("not a URL") from None  # the original may quote user info, and errors are logged
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, _clean_query(parts.query), ""))


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
        kept = tuple((name, value) for name, value in self.request_headers if keeps(name) and not is_document(value))
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
