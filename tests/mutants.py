"""Mutated exchanges: recorded ones with something wrong in them, each made from its number alone.

``mutant(number)`` makes the same exchange whenever it is called: a failure that names the number can be looked at.
"""

from __future__ import annotations

import random
import re
import zlib
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Final

import recorded
from mutating import CHANGES, WEIGHTS, flip, place_in

CANARY: Final = "sk-canary-4e8d1b7a90c2f35611"
"""In every header and query field of a request that clients put credentials in; it must be nowhere in a store."""

Headers = list[tuple[bytes, bytes]]

_SEED: Final = "mutants"
_SECRET_HEADERS: Final = (
    *("Authorization", "x-api-key", "api-key", "x-goog-api-key", "Cookie", "Proxy-Authorization"),
    *("X-Amz-Security-Token", "openai-api-key", "X-Auth-Token"),
)
_SECRET_FIELDS: Final = ("key", "api_key", "access_token", "X-Amz-Signature", "sig", "subscription-key")
_TRANSFER: Final = {"content-encoding", "content-length", "transfer-encoding", "connection", "host"}
_CLAIMS: Final = (b"gzip", b"deflate", b"br", b"zstd", b"identity", b"gzip, gzip", b"GZIP", b"nonsense", b"", b"x-gzip")
_STATUSES: Final = (
    *(200, 201, 202, 206, 299, 300, 301, 307, 400, 401, 402, 404, 408, 413, 422, 429, 499, 500, 503, 529, 599),
)
_ODD_STATUSES: Final = (0, 99, 100, 101, 204, 304, 600, 999, 10**6)
_VALUES: Final = (
    *(
        b"",
        b"x" * 5000,
        b"-1",
        b"1e999",
        b"nan",
        b"9" * 400,
        b"a" * 90 + b"?" * 90,
        b"//@@//:@?=&=&%",
        b"{",
        b"eyJ",
        b"[1,",
    ),
    *(
        b"https://[::1",
        b"text/event-stream; charset=nonsense",
        b"application/json;;;=",
        b"\xe9\xff",
        b"%00%ff%zz",
        b"; , ;",
    ),
)
_MOST: Final = 80
"""Headers of a request; a server refuses more than a hundred, in words with the time of day in them."""
_UNSAFE: Final = re.compile(rb"[\x00-\x1f\x7f]")
READS: Final = ("whole", "raw", "read", "lines", "early")
"""How the application reads the answer."""


@dataclass(frozen=True)
class Mutant:
    """An exchange, and what was changed in it; ``breaks`` tells that the connection does after the last chunk."""

    number: int
    source: str
    method: str
    url: str
    request_headers: Headers
    request_body: bytes
    status: int
    response_headers: Headers
    chunks: list[bytes]
    read: str = "whole"
    breaks: bool = False
    changes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return what is needed to make it again."""
        return f"mutant({self.number}): {self.source}, read {self.read!r}, changes: {', '.join(self.changes) or 'none'}"


def _headers(rng: random.Random, headers: Headers) -> Headers:
    """Change the value of a header, or add many."""
    if not headers or rng.random() < 0.2:
        return headers + [(b"x-made-%d" % number, b"%d" % number) for number in range(rng.choice((1, 300)))]
    at = rng.randrange(len(headers))
    name, value = headers[at]
    odd = rng.choice((rng.choice(_VALUES), flip(rng, value, b""), value[: place_in(rng, value)], value * 3))
    return [*headers[:at], (name, odd), *headers[at + rng.randrange(2) :]]


def _packed(rng: random.Random, body: bytes) -> tuple[bytes, bytes, str]:
    """Return a body as it may be packed, what it is said to be packed with, and how that was made."""
    kind = rng.choice(("packed", "packed and cut", "packed with bits flipped", "said to be packed"))
    if kind == "said to be packed":
        claim = rng.choice(_CLAIMS)
        return body, claim, f"{kind} ({claim!r})"
    claim, window = rng.choice(((b"gzip", 31), (b"deflate", 15), (b"deflate", -15)))
    packer = zlib.compressobj(wbits=window)
    packed = packer.compress(body) + packer.flush()
    change = {"packed and cut": "cut", "packed with bits flipped": "bits flipped"}.get(kind)
    return CHANGES[change](rng, packed, b"") if change else packed, claim, f"{kind} ({claim!r})"


def _chunked(rng: random.Random, body: bytes) -> list[bytes]:
    count = rng.choice((1, 1, 2, 7, 60))
    edges = [0, *sorted(place_in(rng, body) for _ in range(count - 1)), len(body)]
    return [body[a:b] for a, b in pairwise(edges) if a < b]


@cache
def originals() -> tuple[Mutant, ...]:
    """Return every recorded exchange as it is, with canaries where clients put credentials."""
    found: list[Mutant] = []
    for path in recorded.FILES:
        for index, entry in enumerate(recorded.entries(path)):
            asked, answered = entry["request"], entry["response"]
            mark = "&" if "?" in asked["url"] else "?"
            fields = "&".join(f"{name}={CANARY}" for name in _SECRET_FIELDS)
            made = Mutant(
                number=-1,
                source=f"{path.name}#{index}",
                method=asked["method"],
                url=f"{asked['url']}{mark}{fields}",
                request_headers=_own(asked["headers"]),
                request_body=((asked.get("postData") or {}).get("text") or "").encode(),
                status=answered["status"],
                response_headers=_own(answered["headers"]),
                chunks=[recorded.answer_of(entry)],
            )
            found.append(made)
    return tuple(found)


def _own(headers: list[dict[str, str]]) -> Headers:
    pairs = ((item["name"].encode("latin-1"), item["value"].encode("latin-1", "replace")) for item in headers)
    return [(name, value) for name, value in pairs if name.decode().lower() not in _TRANSFER]


def mutant(number: int, *, on_the_wire: bool = False) -> Mutant:
    """Return the exchange of a number.

    Args:
        number: any number.
        on_the_wire: leave out what no server can send: control characters in headers, statuses without a body.
    """
    rng = random.Random(f"{_SEED}:{number}")
    base, other = rng.choice(originals()), rng.choice(originals())
    asked, answered = base.request_body, base.chunks[0]
    heads, sent, status, changes = base.response_headers, base.request_headers, base.status, list[str]()
    for part in rng.choices(
        ("answer", "request", "head", "sent", "status"), (8, 4, 2, 2, 2), k=rng.choice((1, 1, 2, 3))
    ):
        name = rng.choices(list(CHANGES), WEIGHTS)[0]
        if part == "answer":
            answered = CHANGES[name](rng, answered, other.chunks[0])
        elif part == "request":
            asked = CHANGES[name](rng, asked, other.request_body)
        elif part == "head":
            heads, name = _headers(rng, heads), "header"
        elif part == "sent":
            sent, name = _headers(rng, sent), "header"
        else:
            status = rng.choice(_STATUSES if on_the_wire or rng.random() < 0.7 else _ODD_STATUSES)
            name = str(status)
        changes.append(f"{part}: {name}")
    if rng.random() < 0.2:
        answered, claim, name = _packed(rng, answered)
        heads = [*heads, (b"content-encoding", claim)]
        changes.append(name)
    made = replace(
        base,
        number=number,
        request_headers=[*sent, *((name.encode(), f"Bearer {CANARY}".encode()) for name in _SECRET_HEADERS)],
        request_body=asked,
        status=status,
        response_headers=[*heads, (b"set-cookie", f"session={CANARY}; path=/".encode())],
        chunks=_chunked(rng, answered),
        read=rng.choice(READS),
        breaks=not on_the_wire and rng.random() < 0.05,
        changes=tuple(changes),
    )
    return _sendable(made) if on_the_wire else made


def _sendable(made: Mutant) -> Mutant:
    def safe(headers: Headers) -> Headers:
        return [(name, _UNSAFE.sub(b"x", value).strip()) for name, value in headers]

    kept = len(_SECRET_HEADERS)
    status = 200 if made.status in (100, 101, 204, 304) else made.status
    return replace(
        made,
        url=made.url.replace("https://", "http://"),
        request_headers=safe([*made.request_headers[:-kept][:_MOST], *made.request_headers[-kept:]]),
        response_headers=safe(made.response_headers),
        status=status,
    )
